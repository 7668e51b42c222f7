"""A net that gives every pixel a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.scored_net import ScoredNet
from caffecompat.layers import Layer, class_of
from caffecompat.layers.activation import Sigmoid
from caffecompat.layers.segmentation import SegmentationAccuracy, SegmentPixelIOU
from caffecompat.layers.softmax import Softmax

__all__ = ["Segmenter", "scores_to_classes"]


class Segmenter(ScoredNet):
    """A net whose scores are maps (N, classes, h, w); softmax, losses and accuracies after them are left out."""

    ends: ClassVar[tuple[type[Layer], ...]] = (*ScoredNet.ends, SegmentPixelIOU, SegmentationAccuracy)
    scored: ClassVar[tuple[type[Layer], ...]] = (*ScoredNet.scored, SegmentPixelIOU, SegmentationAccuracy)

    def _check_scores(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 4 or shape[1] < 2:
            raise CaffeCompatError(
                f"{self.path}: blob {self.scores!r} of shape {shape} is no map of scores (N, classes, height, width); "
                "name another with --blob"
            )

    def prepare(self, picture: np.ndarray, preprocess: Callable[[np.ndarray, int, int], np.ndarray]) -> np.ndarray:
        """A picture (H, W, C) as the net's input, (1, C, height, width) float32."""
        assert self.input_shape is not None, "this net reads its own data"
        return preprocess(picture, self.input_shape[2], self.input_shape[3])

    @torch.no_grad()
    def probabilities(self, scores: Tensor) -> Tensor:
        """The classes' probabilities of scores (N, classes, h, w): their softmax, unless the net gives such itself."""
        return scores.float() if self._gives_probabilities() else scores.float().softmax(1)

    def _gives_probabilities(self) -> bool:
        """Whether the last layer is a Softmax or Sigmoid, as where ``--blob`` names the top of one."""
        maker = next((layer for layer in reversed(self.net.layers) if self.scores in layer.tops), None)
        return maker is not None and issubclass(class_of(maker.type), Softmax | Sigmoid)

    def next(self) -> tuple[Tensor, np.ndarray]:
        """Of a net that reads its own data: scores of the next batch and its labels, (N, H, W) float32."""
        scores, labels = super().next()
        return scores, labels.reshape(labels.shape[0], *labels.shape[-2:])

    def classify(self, picture: np.ndarray, preprocess: Callable[[np.ndarray, int, int], np.ndarray]) -> np.ndarray:
        """The class of each pixel, (h, w) uint8, in the size of the net's scores."""
        classes: np.ndarray = scores_to_classes(self.score(self.prepare(picture, preprocess)))[0]
        return classes


@torch.no_grad()
def scores_to_classes(scores: Tensor, size: tuple[int, int] | None = None) -> np.ndarray:
    """The best class of each pixel, the first where several are equal: (N, h, w) uint8.

    Args:
        scores: (N, classes, h, w), at most 256 classes.
        size: (height, width) to bring the scores to first, bilinearly.
    """
    if size and scores.shape[2:] != size:
        scores = F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
    return scores.argmax(1).to(torch.uint8).cpu().numpy()
