"""Which class was taken for which, counted pixel by pixel, and the scores made from the counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffecompat.errors import CaffeCompatError

__all__ = ["ConfusionMatrix", "LabelValueError"]


class LabelValueError(CaffeCompatError):
    """Labels hold values that are neither a class nor ignored."""


class ConfusionMatrix:
    """Counts of (label, prediction) pairs, summed over any number of pictures.

    For class c, with rows as labels: TP = counts[c, c], FP = the rest of column c, FN = the rest of row c,
    IoU = TP / (TP + FP + FN).

    Args:
        classes: how many; labels and predictions are 0 ... classes - 1.
        ignore: label values that are left out altogether, whatever is predicted there.

    Attributes:
        counts: (classes, classes) int64, rows are labels and columns predictions.
    """

    def __init__(self, classes: int, ignore: Sequence[int] = (255,)) -> None:
        self.classes = classes
        self.ignore = tuple(ignore)
        self.counts = np.zeros((classes, classes), np.int64)
        # One row more for ignored labels, one for wrong ones: sorting pixels out costs a table look-up each.
        self._row = np.full(256, classes + 1, np.int32)
        self._row[: min(classes, 256)] = np.arange(min(classes, 256))
        self._row[[value for value in self.ignore if 0 <= value < 256]] = classes
        self._row *= classes

    def add(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Count one picture or a batch.

        Args:
            labels: uint8, any shape.
            predictions: class numbers, the same shape.

        Raises:
            LabelValueError: a label is neither a class nor ignored.
        """
        pairs = self._row[labels.ravel()] + predictions.ravel()
        counts = np.bincount(pairs, minlength=(self.classes + 2) * self.classes).reshape(-1, self.classes)
        if counts[self.classes + 1].any():
            raise LabelValueError(self._wrong_labels(labels))
        self.counts += counts[: self.classes]

    def _wrong_labels(self, labels: np.ndarray) -> str:
        present = np.unique(labels)
        wrong = [int(value) for value in present if value >= self.classes and value not in self.ignore]
        shown = ", ".join(map(str, wrong[:8])) + (", ..." if len(wrong) > 8 else "")
        hint = ""
        if self.classes == 19 and wrong and max(wrong) <= 33:
            hint = "; they look like Cityscapes' label ids, the net wants train ids (..._labelTrainIds.png)"
        return (
            f"labels have the value{'s' if len(wrong) > 1 else ''} {shown}; the net has {self.classes} classes "
            f"(0 to {self.classes - 1}), ignored {'are' if len(self.ignore) != 1 else 'is'} "
            f"{', '.join(map(str, self.ignore)) or 'nothing'}{hint}"
        )

    @property
    def labelled(self) -> np.ndarray:
        """Pixels of each class by the labels (classes,)."""
        return self.counts.sum(1)

    @property
    def predicted(self) -> np.ndarray:
        """Pixels of each class by the predictions, where the label counts (classes,)."""
        return self.counts.sum(0)

    def iou(self) -> np.ndarray:
        """IoU of each class (classes,) float64; nan for a class neither labelled nor predicted anywhere."""
        hits = self.counts.diagonal()
        union = self.labelled + self.predicted - hits
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(union > 0, hits / union, np.nan)

    def miou(self) -> float:
        """Mean IoU over the classes that are labelled or predicted somewhere; nan if none is.

        This is Xilinx Caffe's rule (``eval_type: "segmentation"``: classes with TP + FP + FN > 0) and that of
        the Cityscapes benchmark. A class that is predicted but never labelled counts, with IoU 0.
        """
        return _mean(self.iou())

    def miou_labelled(self) -> float:
        """Mean IoU over the classes that occur in the labels; nan if none does."""
        return _mean(self.iou()[self.labelled > 0])

    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels whose prediction is right; nan without any."""
        total = self.counts.sum()
        return float(self.counts.diagonal().sum() / total) if total else float("nan")

    def chance_miou(self) -> float:
        """The mIoU of guessing without looking: the better of always saying the most frequent class, and of
        drawing a class by its frequency p (IoU p / (2 - p)); over the labelled classes."""
        total = self.labelled.sum()
        if not total:
            return float("nan")
        p = self.labelled[self.labelled > 0] / total
        return max(float(p.max() / len(p)), float(np.mean(p / (2 - p))))


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
