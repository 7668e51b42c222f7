"""Scores of trained nets: running one over pictures, and what its answers are worth."""

from caffecompat.evaluate.confusion import ConfusionMatrix
from caffecompat.evaluate.segmenter import Segmenter

__all__ = ["ConfusionMatrix", "Segmenter"]
