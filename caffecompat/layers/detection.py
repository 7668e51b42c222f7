"""DetectionOutput and DetectionEvaluate: from SSD's predictions to boxes, and from boxes to hits and misses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.layers.detection_pixels import pixel_boxes, pixel_overlaps
from caffecompat.layers.detection_scores import judge
from caffecompat.layers.functional.detection import detection_output
from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.registry import register
from caffecompat.schema import pb

if TYPE_CHECKING:
    from caffecompat.formats.detections import ResultWriter

__all__ = ["DetectionEvaluate", "DetectionOutput"]


@register("DetectionOutput")
class DetectionOutput(Layer):
    """Decode SSD's predictions, suppress overlapping boxes, keep the best (SSD, Jacinto, Xilinx).

    Bottoms: locations (N, P * L * 4) with L = 1, or the number of classes C without share_location; class
    probabilities (N, P * C); priors (1, 2, P * 4); further ones are for the picture of `visualize`, or a segmentation
    that Xilinx's has_segmap passes on as the second top. Top (1, 1, K, 7): rows [image, class, score, xmin, ymin,
    xmax, ymax] in units of the image, ordered by image, class and falling score. Where nothing is found in the whole
    batch, each image has a row [image, -1, -1, ...].

    With save_output_param, boxes are also written to files in its output_directory, once all num_test_image
    pictures of name_size_file have passed. Other files there are left alone, while some originals delete the folder.

    Attributes:
        labels: how many labels there are, the background's among them, which no row has.
        background: that one.
    """

    chooses: ClassVar[bool] = True
    decodes_priors: ClassVar[bool] = True
    gives_detections: ClassVar[bool] = True
    untraceable: str = "how many boxes it finds depends on the values"
    bottoms: ClassVar[tuple[int, int | None]] = (3, 4)
    unbatched: ClassVar[tuple[int, ...]] = (2,)
    tops: ClassVar[tuple[int, int | None]] = (1, 2)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.detection_output_param
        if p.num_classes < 1:
            raise LayerError("detection_output_param.num_classes is missing")
        self.classes = self.labels = p.num_classes
        self.background = p.background_label_id
        self.location_classes = 1 if p.share_location else p.num_classes
        self.code = type(param.prior_box_param).CodeType.Name(p.code_type)
        self.threshold = p.confidence_threshold if p.HasField("confidence_threshold") else -math.inf
        nms = p.nms_param
        if nms.nms_threshold < 0 or not 0 < nms.eta <= 1:
            raise LayerError(f"nms_threshold {nms.nms_threshold:g} must not be negative, eta {nms.eta:g} in (0, 1]")
        self.top_k = nms.top_k if nms.HasField("top_k") else -1
        self.passes_map = p.has_segmap
        if (len(param.top) == 2) != self.passes_map or (self.passes_map and len(bottom_shapes) != 4):
            raise LayerError("a second top needs has_segmap: true and a fourth bottom, the segmentation it passes on")
        if p.visualize:
            glog.info(f"layer {param.name!r}: visualize opens no window here; 'caffecompat detect' draws the boxes")
        self._check_shapes(bottom_shapes)
        self._writer: ResultWriter | None = self._make_writer(p.save_output_param)
        self.writes_files = self._writer is not None

    def _check_shapes(self, shapes: Sequence[Shape]) -> None:
        locations, scores, priors = (tuple(shape) for shape in shapes[:3])
        if len(priors) < 3 or priors[1] != 2 or priors[2] % 4:
            raise LayerError(f"priors of shape {priors}: expected (1, 2, priors x 4), as PriorBox makes them")
        count = priors[2] // 4
        for name, shape, each in (
            ("locations", locations, 4 * self.location_classes),
            ("class scores", scores, self.classes),
        ):
            if math.prod(shape[1:]) != count * each:
                raise LayerError(f"{count} priors need {count} x {each} {name}, the bottom has shape {shape}")

    def _make_writer(self, p: pb.SaveOutputParameter) -> ResultWriter | None:
        """What writes result files; None where save_output_param does not name all that it needs, as in Caffe.

        A published net names files of its author's machine. It runs nevertheless: a warning says what is not saved.
        """
        if not (p.output_directory and p.label_map_file and p.name_size_file):
            return None
        from caffecompat.formats.detections import FORMATS, ResultWriter

        if p.output_format not in FORMATS:
            raise LayerError(f"output_format {p.output_format!r}: expected {', '.join(FORMATS)}")
        try:
            return ResultWriter(
                p.output_directory,
                p.output_name_prefix,
                p.output_format,
                p.label_map_file,
                p.name_size_file,
                count=p.num_test_image if p.HasField("num_test_image") else None,
                background=self.param.detection_output_param.background_label_id,
                relative_to=self.context.relative_to,
            )
        except CaffeCompatError as problem:
            glog.warning(f"layer {self.param.name!r}: boxes will not be saved to {p.output_directory}: {problem}")
            return None

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    def forward(self, locations: Tensor, scores: Tensor, priors: Tensor, *more: Tensor) -> Tensor | tuple[Tensor, ...]:
        if locations.is_meta:
            found = locations.new_empty((1, 1, 1, 7))  # how many there will be, nobody knows before
        else:
            found = self._detect(locations, scores, priors)
        return (found, more[0].detach().clone()) if self.passes_map else found

    def _detect(self, locations: Tensor, scores: Tensor, priors: Tensor) -> Tensor:
        p, nms = self.param.detection_output_param, self.param.detection_output_param.nms_param
        found = detection_output(
            locations, scores, priors, self.classes, background=p.background_label_id,
            shared_locations=self.location_classes == 1, code=self.code,
            variance_in_target=p.variance_encoded_in_target, threshold=self.threshold, top_k=self.top_k,
            keep_top_k=p.keep_top_k, nms_threshold=nms.nms_threshold, eta=nms.eta,
        )  # fmt: skip
        rows = found[0, 0][found[0, 0, :, 1] >= 0]
        if self.writes_files:
            self._save(rows.cpu().numpy(), locations.shape[0])
        if not len(rows):
            glog.info("Couldn't find any detections", "detection_output_layer.cpp:303")
        return found

    def _save(self, rows: np.ndarray, images: int) -> None:
        assert self._writer is not None
        resize = self.param.detection_output_param.save_output_param
        resize_param = resize.resize_param if resize.HasField("resize_param") else None
        for image in range(images):
            mine = rows[rows[:, 0] == image]
            height, width = self._writer.next_size()
            corners, _ = pixel_boxes(mine[:, 3:], height, width, resize_param)
            self._writer.add(mine[:, 1].astype(int), mine[:, 2], corners)


@register("DetectionEvaluate")
class DetectionEvaluate(Layer):
    """Compare detections with the objects that are there (SSD).

    Bottoms: detections (1, 1, K, 7), as DetectionOutput makes them; objects (1, 1, G, 8) with rows [image, class,
    instance, xmin, ymin, xmax, ymax, difficult]. Top (1, 1, C - 1 + K, 5): for each class but the background a row
    [-1, class, objects, -1, -1], without the difficult ones unless evaluate_difficult_gt; then for each detection
    [image, class, score, hit, miss]. A hit is the best-scored detection whose best overlap with an object of its
    class reaches overlap_threshold; further ones on the same object are misses; on a difficult object that does not
    count, a detection is neither.

    With name_size_file boxes are compared in pixels, a box from 3 to 5 being 3 wide. The file's lines belong to the
    images in order; SSD goes on by one for each image that has a detection, wherever no image is without, rightly.

    Attributes:
        compared: detections (K, 7) and objects (G, 8) of the newest batch, for scores of another definition.
    """

    measures: ClassVar[bool] = True
    judges_all: ClassVar[bool] = True
    untraceable: str = "how many boxes it finds depends on the values"
    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)
    not_exported: ClassVar[str] = "computes metrics"
    remembers = ("next_image",)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.detection_evaluate_param
        if p.num_classes < 1:
            raise LayerError("detection_evaluate_param.num_classes is missing")
        if p.overlap_threshold <= 0:
            raise LayerError(f"overlap_threshold {p.overlap_threshold:g} must be positive")
        for shape, columns, what in zip(bottom_shapes, (7, 8), ("detections", "objects"), strict=True):
            if len(shape) != 4 or shape[:2] != (1, 1) or shape[3] != columns:
                raise LayerError(f"{what} of shape {tuple(shape)}: expected (1, 1, rows, {columns})")
        self._sizes: np.ndarray | None = None
        self.next_image = 0
        self._warned = False
        self.compared = np.zeros((0, 7), np.float32), np.zeros((0, 8), np.float32)

    def check_files(self) -> None:
        _ = self.sizes  # which reads them

    @property
    def sizes(self) -> np.ndarray | None:
        """(height, width) of the pictures, (M, 2), of name_size_file; read when first asked for. None without one."""
        path = self.param.detection_evaluate_param.name_size_file
        if path and self._sizes is None:
            from caffecompat.formats.detections import read_name_sizes

            self._sizes = np.array([size for _, *size in read_name_sizes(path, self.context.relative_to)], np.int64)
        return self._sizes

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    @torch.no_grad()
    def forward(self, detections: Tensor, objects: Tensor) -> Tensor:
        classes = self.classes()
        if detections.is_meta:
            return detections.new_empty((1, 1, len(classes) + detections.shape[2], 5))
        found = detections.float().cpu().numpy().reshape(-1, 7)
        there = objects.float().cpu().numpy().reshape(-1, 8)
        there = there[there[:, 0] != -1]
        found, there = self._without_background(found, "detections"), self._without_background(there, "objects")
        self.compared = found[(found[:, 0] != -1) & (found[:, 1] != -1)], there
        rows = np.concatenate([self._count(classes, there), self._compare(found, there)])
        return torch.from_numpy(rows[None, None]).to(detections.device)

    def _without_background(self, rows: np.ndarray, what: str) -> np.ndarray:
        """Rows of the background's class are left out, with one warning; a measure ends no run (the original does)."""
        background = self.param.detection_evaluate_param.background_label_id
        wrong = rows[:, 1] == background
        if wrong.any() and not self._warned:
            self._warned = True
            glog.warning(
                f"layer {self.param.name!r} (DetectionEvaluate): {int(wrong.sum())} of {len(rows)} {what} are of the "
                f"background's class {background}; they are left out, here and in later batches"
            )
        objects: np.ndarray = rows[~wrong]
        return objects

    def classes(self) -> np.ndarray:
        """Labels of all classes but the background."""
        p = self.param.detection_evaluate_param
        return np.array([c for c in range(p.num_classes) if c != p.background_label_id], np.float32)

    def _count(self, classes: np.ndarray, there: np.ndarray) -> np.ndarray:
        """The rows [-1, class, objects, -1, -1]."""
        if not self.param.detection_evaluate_param.evaluate_difficult_gt:
            there = there[there[:, 7] == 0]
        rows = np.full((len(classes), 5), -1, np.float32)
        rows[:, 1] = classes
        rows[:, 2] = (there[None, :, 1] == classes[:, None]).sum(1)
        return rows

    def _compare(self, found: np.ndarray, there: np.ndarray) -> np.ndarray:
        """The rows [image, class, score, hit, miss]."""
        p = self.param.detection_evaluate_param
        found = found[found[:, 0] != -1]
        images, position = np.unique(found[:, 0], return_inverse=True)
        overlaps = self._overlaps(found, there, images, position)
        sizes = self.sizes
        if sizes is not None:
            self.next_image = (self.next_image + len(images)) % len(sizes)
        named = found[:, 1] != -1
        return judge(
            found[named], there, overlaps[named], p.overlap_threshold, difficult_counts=p.evaluate_difficult_gt
        )

    def _overlaps(self, found: np.ndarray, there: np.ndarray, images: np.ndarray, position: np.ndarray) -> np.ndarray:
        """(detections, objects), in units of the image or in pixels."""
        sizes = self.sizes
        if sizes is None or not len(found):
            return pixel_overlaps(found[:, 3:7], None, there[:, 3:7], None)
        p = self.param.detection_evaluate_param
        resize = p.resize_param if p.HasField("resize_param") else None
        size = sizes[(self.next_image + np.arange(len(images))) % len(sizes)]
        # An object in an image without detections meets none, so any image's size will do for it.
        mine, theirs = size[position], size[np.searchsorted(images, there[:, 0]).clip(max=len(images) - 1)]
        return pixel_overlaps(
            *pixel_boxes(found[:, 3:7], mine[:, 0], mine[:, 1], resize),
            *pixel_boxes(there[:, 3:7], theirs[:, 0], theirs[:, 1], resize),
        )
