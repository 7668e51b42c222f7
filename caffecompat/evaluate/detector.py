"""A net that finds objects: it ends in a DetectionOutput layer, or in YOLO's."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.scored_net import ScoredNet
from caffecompat.formats.detections import read_name_sizes
from caffecompat.formats.label_map import LabelMap
from caffecompat.layers import class_of
from caffecompat.layers.detection import DetectionEvaluate, DetectionOutput
from caffecompat.layers.multibox_loss import MultiBoxLoss
from caffecompat.layers.yolo_output import YoloDetectionOutput, Yolov3DetectionOutput
from caffecompat.paths import look_up
from caffecompat.schema import NetDocument, pb
from caffecompat.schema.data_layers import Labels, data_layer

__all__ = ["Detector"]


_OUTPUTS = (DetectionOutput, YoloDetectionOutput, Yolov3DetectionOutput)


class Detector(ScoredNet):
    """A net cut off after its DetectionOutput or YOLO's, fed with pictures or by its own AnnotatedData layer.

    Attributes (besides those of ScoredNet):
        classes: number of classes, the background among them.
        labels_known: the classes that can be found.
        label_map_file: what the prototxt names as its label map, if that file is there.
        batch: how many pictures the prototxt puts through at once.
        evaluation: the DetectionEvaluateParameter of the net's TEST phase; None where it has none.
    """

    def __init__(
        self, model: str | os.PathLike[str] | NetDocument, weights: str | None = None, **settings: Any
    ) -> None:
        self.label_map_file = ""
        self.evaluation: pb.DetectionEvaluateParameter | None = None
        super().__init__(model, weights, **settings)
        output = next(layer.module for layer in self.net.layers if isinstance(layer.module, _OUTPUTS))
        self.classes = output.labels
        self.labels_known = [label for label in range(self.classes) if label != output.background]
        self.batch = self.input_shape[0] if self.input_shape else 0

    def _find_scores(self, document: NetDocument, blob: str | None) -> tuple[str, int]:
        layers = document.message.layer
        for layer in layers:
            if class_of(layer.type) is DetectionEvaluate:
                self.evaluation = layer.detection_evaluate_param
            elif _brings_boxes(layer):
                self._note_label_map(layer.annotated_data_param.label_map_file)
        for index in reversed(range(len(layers))):
            layer = layers[index]
            if class_of(layer.type).gives_detections and blob in (None, layer.top[0]):
                self._note_label_map(layer.detection_output_param.save_output_param.label_map_file)
                # Results are this program's to write, where it is told to.
                layer.detection_output_param.ClearField("save_output_param")
                layer.detection_output_param.visualize = False
                return str(layer.top[0]), index + 1
        if blob:
            raise CaffeCompatError(
                f"{document.path}: no DetectionOutput layer, nor one of YOLO's, makes the blob {blob!r}"
            )
        raise CaffeCompatError(
            f"{document.path}: no DetectionOutput layer in phase TEST, nor YoloDetectionOutput or "
            "Yolov3DetectionOutput; give the deploy or test prototxt of a detector"
        )

    def _note_label_map(self, path: str) -> None:
        found = look_up(path, self.relative_to)
        if found is not None and os.path.isfile(found):
            self.label_map_file = found

    def _find_labels(self, document: NetDocument) -> str:
        for layer in reversed(document.message.layer):
            if issubclass(class_of(layer.type), DetectionEvaluate | MultiBoxLoss):
                return str(layer.bottom[-1])
            if _brings_boxes(layer) and len(layer.top) > 1:
                return str(layer.top[1])
        raise CaffeCompatError(
            f"{document.path}: this net reads its own data, but no AnnotatedData or DetectionEvaluate layer says which "
            "blob holds the objects; score a deploy prototxt with --list or --db instead"
        )

    def _check_scores(self, shape: tuple[int, ...]) -> None:
        pass  # a DetectionOutput made them

    def know_classes(self, label_map: LabelMap) -> None:
        """Take the classes from the data's label map, where the net does not say how many it finds.

        Raises:
            CaffeCompatError: the label map has none either.
        """
        if self.labels_known:
            return
        self.labels_known = sorted(label for label in label_map.names if label)
        if not self.labels_known:
            raise CaffeCompatError(f"{self.path} does not say how many classes it finds: give --labelmap FILE")

    def prepare(self, picture: np.ndarray, preprocess: Callable[[np.ndarray, int, int], np.ndarray]) -> np.ndarray:
        """A picture (H, W, C) as the net's input, (1, C, height, width) float32."""
        assert self.input_shape is not None, "this net reads its own data"
        return preprocess(picture, self.input_shape[2], self.input_shape[3])

    def detect_batch(self, batch: np.ndarray) -> list[np.ndarray]:
        """Of each prepared picture, the rows [class, score, xmin, ymin, xmax, ymax] in units of the picture."""
        return _by_image(self.score(batch).cpu().numpy(), len(batch))

    def detect(self, picture: np.ndarray, preprocess: Callable[[np.ndarray, int, int], np.ndarray]) -> np.ndarray:
        """The rows (K, 6) of one picture, best first."""
        rows = self.detect_batch(self.prepare(picture, preprocess))[0]
        return rows[np.argsort(-rows[:, 1], kind="stable")]

    @torch.no_grad()
    def next_pictures(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of a net that reads its own data, the next batch: each picture's detections, and its objects (G, 7)."""
        found, labels = self.next()
        source = next(layer.source for layer in self.net.layers if layer.source is not None)
        count = source.top_shapes[0][0]
        objects = labels.reshape(-1, labels.shape[-1])
        return list(
            zip(
                _by_image(found.cpu().numpy(), count),
                [objects[objects[:, 0] == image][:, 1:8] for image in range(count)],
                strict=True,
            )
        )

    def own_sizes(self) -> list[tuple[int, int]]:
        """(height, width) of the net's own pictures, where its DetectionEvaluate names a file of them."""
        if self.evaluation is None or not self.evaluation.name_size_file:
            return []
        return [
            (height, width) for _, height, width in read_name_sizes(self.evaluation.name_size_file, self.relative_to)
        ]


def _brings_boxes(layer: pb.LayerParameter) -> bool:
    kind = data_layer(layer.type)
    return kind is not None and kind.labels is Labels.BOXES


def _by_image(found: np.ndarray, count: int) -> list[np.ndarray]:
    """Rows (1, 1, K, 7) as those of each image without the image's number; rows without class are ignored."""
    rows = found.reshape(-1, 7)
    rows = rows[rows[:, 1] != -1]
    return [rows[rows[:, 0] == image][:, 1:] for image in range(count)]
