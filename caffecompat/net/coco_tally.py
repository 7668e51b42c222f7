"""COCO's average precision of what a net's DetectionEvaluate layers compare, batch by batch."""

from __future__ import annotations

import numpy as np

from caffecompat.layers.coco_scores import CocoScores, coco_scores
from caffecompat.layers.detection import DetectionEvaluate
from caffecompat.net.net import Net

__all__ = ["CocoTally"]


class CocoTally:
    """Detections and objects of those of a net's outputs that DetectionEvaluate layers make.

    The score is the mean over overlaps .50:.05:.95 and over the classes with objects, from precisions at 101 recalls,
    with at most 100 detections of a class in a picture; difficult objects are crowds. Whatever a layer compares is
    scored, also below its own overlap_threshold.

    Attributes:
        names: of these outputs.
    """

    def __init__(self, net: Net) -> None:
        self._layers = {
            name: layer.module
            for layer in net.layers
            for name in layer.tops
            if name in net.outputs and isinstance(layer.module, DetectionEvaluate)
        }
        self.names = list(self._layers)
        self._found: dict[str, list[np.ndarray]] = {name: [] for name in self._layers}
        self._there: dict[str, list[np.ndarray]] = {name: [] for name in self._layers}
        self._first = 0  # the number of the next batch's first picture

    def add(self) -> None:
        """Take in what the layers compared in the net's newest pass."""
        pictures = 0
        for name, layer in self._layers.items():
            for rows, kept in zip(layer.compared, (self._found[name], self._there[name]), strict=True):
                numbered = rows.astype(np.float64)
                pictures = max(pictures, int(numbered[:, 0].max(initial=-1)) + 1)
                numbered[:, 0] += self._first
                kept.append(numbered)
        self._first += pictures

    def scores(self) -> dict[str, CocoScores]:
        """The scores so far, by output blob; none before the first batch."""
        return {
            name: coco_scores(np.concatenate(self._found[name]), np.concatenate(self._there[name]), layer.classes())
            for name, layer in self._layers.items()
            if self._found[name]
        }
