"""Boxes of YOLO v2 and v3 for inference: YoloDetectionOutput, Yolov3DetectionOutput."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from caffecompat import glog
from caffecompat.layers.functional.yolo_output import yolo_v2_detections, yolo_v3_detections
from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["YoloDetectionOutput", "Yolov3DetectionOutput"]


class _YoloOutput(Layer):
    """What both share: the check of shapes, suppression, and the rows of the top."""

    chooses: ClassVar[bool] = True
    gives_detections: ClassVar[bool] = True
    untraceable: str = "how many boxes it finds depends on the values"

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = self._settings()
        if not p.HasField("num_classes"):
            raise LayerError("num_classes is missing")
        if p.num_classes < 1 or p.num_box < 1:
            raise LayerError("num_classes and num_box must be at least 1")
        if len(p.biases) % 2:
            raise LayerError(f"{len(p.biases)} biases: they are pairs of width and height")
        self.classes, self.each = p.num_classes, p.num_box
        self.labels, self.background = p.num_classes + 1, 0  # its rows count classes from 1
        self.overlap = p.nms_threshold
        wanted = p.num_box * (5 + p.num_classes)
        for name, shape in zip(param.bottom, bottom_shapes, strict=True):
            if len(shape) != 4 or shape[1] != wanted:
                raise LayerError(
                    f"{name!r} of shape {tuple(shape)}: {p.num_box} boxes of {p.num_classes} classes need "
                    f"(batch, {wanted}, height, width)"
                )

    def _settings(self) -> pb.YoloDetectionOutputParameter | pb.Yolov3DetectionOutputParameter:
        raise NotImplementedError

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    def forward(self, *maps: Tensor) -> Tensor:
        if maps[0].is_meta:
            return maps[0].new_empty((1, 1, 1, 7))  # how many there will be, nobody knows before
        found = self._detect(maps)
        if found[0, 0, 0, 1] < 0:
            glog.info("Couldn't find any detections", self.type)
        return found

    def _detect(self, maps: Sequence[Tensor]) -> Tensor:
        raise NotImplementedError


@register("YoloDetectionOutput")
class YoloDetectionOutput(_YoloOutput):
    """The boxes that the region layer of YOLO v2 finds (eric612/MobileNet-YOLO).

    Bottoms: one or two maps (N, num_box * (5 + num_classes), H, W), each box x, y, width, height, objectness, class
    scores. Top (1, 1, K, 7): rows [image, class + 1, score, xmin, ymin, xmax, ymax] in units of the picture, not cut at
    its border, by image and falling score; the class is the likeliest, the score its probability times the objectness.
    Boxes of any classes suppress each other where their overlap reaches nms_threshold. Where nothing is found, each
    image has a row [image, -1, ...]. The original is for one image: it says 0 for each, and mixes their boxes.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (1, 2)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = self._settings()
        if p.coords != 4:
            raise LayerError(f"coords {p.coords} must be 4")
        if len(p.biases) < 2 * p.num_box:
            raise LayerError(f"{p.num_box} boxes need {2 * p.num_box} biases, width and height of each in cells")
        if p.label_map_file:
            glog.info(f"layer {param.name!r}: label_map_file changes nothing, here as in the original")

    def _settings(self) -> pb.YoloDetectionOutputParameter:
        return self.param.yolo_detection_output_param

    @property
    def sizes(self) -> list[tuple[float, float]]:
        """Width and height of each box, in cells."""
        return _pairs(self._settings().biases)[: self.each]

    def _detect(self, maps: Sequence[Tensor]) -> Tensor:
        return yolo_v2_detections(maps, self.sizes, self._settings().confidence_threshold, self.overlap)


@register("Yolov3DetectionOutput")
class Yolov3DetectionOutput(_YoloOutput):
    """The boxes that the maps of YOLO v3 find (eric612/MobileNet-YOLO).

    Bottoms: mask_group_num maps (N, num_box * (5 + num_classes), H, W), as those of YoloDetectionOutput. Map t has the
    boxes of the t-th share of `mask`, which are numbers of pairs of `biases`: width and height in pixels of a picture
    anchors_scale[t] times as large as the map. Each class has a probability of its own, times the objectness its score;
    a box is there once for each class whose score is above confidence_threshold. Top as YoloDetectionOutput's.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (1, None)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, count = self._settings(), len(bottom_shapes)
        if p.mask_group_num != count:
            raise LayerError(f"mask_group_num {p.mask_group_num} must be the number of bottoms, {count}")
        if len(p.mask) != count * p.num_box or len(p.anchors_scale) != count:
            raise LayerError(
                f"{count} bottom(s) of {p.num_box} boxes need {count * p.num_box} mask entries and {count} "
                f"anchors_scale, there are {len(p.mask)} and {len(p.anchors_scale)}"
            )
        if max(p.mask) >= len(p.biases) // 2:
            raise LayerError(f"mask {max(p.mask)} is not one of the {len(p.biases) // 2} pairs of biases (from 0)")

    def _settings(self) -> pb.Yolov3DetectionOutputParameter:
        return self.param.yolov3_detection_output_param

    @property
    def sizes(self) -> list[list[tuple[float, float]]]:
        """For each map, width and height of its boxes in pixels of a picture anchors_scale times as large."""
        p = self._settings()
        pairs = _pairs(p.biases)
        chosen = [pairs[index] for index in p.mask]
        return [chosen[start : start + self.each] for start in range(0, len(chosen), self.each)]

    def _detect(self, maps: Sequence[Tensor]) -> Tensor:
        p = self._settings()
        return yolo_v3_detections(maps, self.sizes, p.anchors_scale, p.confidence_threshold, self.overlap)


def _pairs(biases: Sequence[float]) -> list[tuple[float, float]]:
    return list(zip(biases[::2], biases[1::2], strict=True))
