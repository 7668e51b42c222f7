"""Scores of trained nets: running one over pictures, and what its answers are worth."""

from caffecompat.evaluate.confusion import ConfusionMatrix, LabelValueError
from caffecompat.evaluate.preprocess import Preprocess
from caffecompat.evaluate.segmenter import Segmenter

__all__ = ["ConfusionMatrix", "LabelValueError", "Preprocess", "Segmenter"]
