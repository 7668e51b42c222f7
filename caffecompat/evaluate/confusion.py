"""Which class was taken for which, counted pixel by pixel, and the scores made from the counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffecompat.deprecation import RenamedAttribute
from caffecompat.layers.class_scores import label_ids_hint

__all__ = ["ConfusionMatrix"]


class ConfusionMatrix:
    """Counts of (label, prediction) pairs, summed over any number of pictures.

    For class c, with rows as labels: TP = counts[c, c], FP = the rest of column c, FN = the rest of row c,
    IoU = TP / (TP + FP + FN). A label that is neither a class nor ignored is a pixel taken wrong that belongs to no
    class: it is in the denominator of the pixel accuracy and part of no IoU.

    Args:
        classes: how many; labels and predictions are 0 ... classes - 1.
        ignore: label values that are left out altogether, whatever is predicted there.

    Attributes:
        counts: (classes, classes) int64, rows are labels and columns predictions.
        outside: how many labels were neither a class nor ignored.
    """

    def __init__(self, classes: int, ignore: Sequence[int] = (255,)) -> None:
        self.classes = classes
        self.ignore = tuple(ignore)
        self.counts = np.zeros((classes, classes), np.int64)
        self.outside = 0
        self._outside_values: set[int] = set()
        # One row more for ignored labels, one for those outside: sorting pixels out costs a table look-up each.
        self._size = max(256, classes)
        self._row = np.full(self._size + 2, classes + 1, np.int32)
        self._row[:classes] = np.arange(classes)
        self._row[[value for value in self.ignore if 0 <= value < self._size]] = classes
        self._row[self._size] = classes  # of ignored values that have no place in the table
        self._row *= classes

    def add(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Count one picture or a batch.

        Args:
            labels: any shape; uint8, or anything else, of which fractions are cut off.
            predictions: class numbers, the same shape.
        """
        pairs = self._row[self._places(labels)] + predictions.ravel()
        counts = np.bincount(pairs, minlength=(self.classes + 2) * self.classes).reshape(-1, self.classes)
        self.counts += counts[: self.classes]
        outside = int(counts[self.classes + 1].sum())
        if outside:
            self.outside += outside
            self._outside_values |= self._values_outside(labels)

    def _places(self, labels: np.ndarray) -> np.ndarray:
        """Where each label is in the table of rows."""
        values = labels.ravel()
        if values.dtype == np.uint8:
            return values
        values = _integers(values)
        places = np.where((values >= 0) & (values < self._size), values, self._size + 1)
        places[np.isin(values, self.ignore)] = self._size
        return places

    def _values_outside(self, labels: np.ndarray) -> set[int]:
        values = set(np.unique(_integers(labels)).tolist()) - set(self.ignore)
        return {value for value in values if not 0 <= value < self.classes}

    def outside_text(self) -> str:
        """What to report of labels that are neither a class nor ignored; "" without any."""
        if not self.outside:
            return ""
        values = sorted(self._outside_values)
        shown = ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
        hint = label_ids_hint(self.classes, values[-1])
        return (
            f"labels have the value{'s' if len(values) > 1 else ''} {shown} in {self.outside} "
            f"pixel{'s' if self.outside > 1 else ''}; the net has {self.classes} classes "
            f"(0 to {self.classes - 1}), ignored {'are' if len(self.ignore) != 1 else 'is'} "
            f"{', '.join(map(str, self.ignore)) or 'nothing'}; such pixels count as wrong{hint}"
        )

    labelled = RenamedAttribute("labeled")
    miou_labelled = RenamedAttribute("miou_labeled")

    @property
    def labeled(self) -> np.ndarray:
        """Pixels of each class by the labels (classes,)."""
        pixels: np.ndarray = self.counts.sum(1)
        return pixels

    @property
    def predicted(self) -> np.ndarray:
        """Pixels of each class by the predictions, where the label counts (classes,)."""
        pixels: np.ndarray = self.counts.sum(0)
        return pixels

    def iou(self) -> np.ndarray:
        """IoU of each class (classes,) float64; nan for a class neither labeled nor predicted anywhere."""
        hits = self.counts.diagonal()
        union = self.labeled + self.predicted - hits
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(union > 0, hits / union, np.nan)

    def miou(self) -> float:
        """Mean IoU over the classes that are labeled or predicted somewhere; nan if none is.

        This is Xilinx Caffe's rule (``eval_type: "segmentation"``: classes with TP + FP + FN > 0) and that of
        the Cityscapes benchmark. A class that is predicted but never labeled counts, with IoU 0.
        """
        return _mean(self.iou())

    def miou_labeled(self) -> float:
        """Mean IoU over the classes that occur in the labels; nan if none does."""
        return _mean(self.iou()[self.labeled > 0])

    def pixel_accuracy(self) -> float:
        """Share of the labeled pixels whose prediction is right; nan without any."""
        total = self.counts.sum() + self.outside
        return float(self.counts.diagonal().sum() / total) if total else float("nan")

    def chance_miou(self) -> float:
        """The mIoU of guessing without looking: the better of always saying the most frequent class, and of
        drawing a class by its frequency p (IoU p / (2 - p)); over the labeled classes."""
        total = self.labeled.sum()
        if not total:
            return float("nan")
        p = self.labeled[self.labeled > 0] / total
        return max(float(p.max() / len(p)), float(np.mean(p / (2 - p))))


def _integers(labels: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # NaN becomes some number that is no class
        return labels.astype(np.int64)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
