"""How often the right class is among the best scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["TopK"]


@dataclass
class TopK:
    """How often the label was among the best k.

    Attributes:
        classes: how many.
        ks: the k counted.
        counts: (classes, classes) int64, rows are labels and columns the best class (the first of equals).
        hits: for each k, how often at most k - 1 other classes score as well as the label or better, which is
            the rule of Caffe's Accuracy layer: equals count against the label.
        outside: how many labels were no class; they count as wrong, and are not in `counts`.
    """

    classes: int
    ks: Sequence[int] = (1, 5)
    outside: int = field(init=False, default=0)
    counts: np.ndarray = field(init=False)
    hits: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.classes, self.classes), np.int64)
        self.hits = [0] * len(self.ks)
        self._first, self._where = 0.0, ""  # of the labels outside, and where it was read from

    def add(self, scores: np.ndarray, labels: np.ndarray, describe: Callable[[int], str] = lambda row: "") -> None:
        """Count a batch: scores (N, classes), labels (N,); `describe` says where the picture of a row comes from."""
        with np.errstate(invalid="ignore"):  # NaN becomes some number that is no class
            index = labels.astype(np.int64)
        known = (index >= 0) & (index < self.classes)
        if not known.all():
            if not self.outside:
                row = int(np.flatnonzero(~known)[0])
                self._first, self._where = float(labels[row]), describe(row)
            self.outside += int((~known).sum())
            index, scores = index[known], scores[known]
        np.add.at(self.counts, (index, scores.argmax(1)), 1)
        others = (scores >= np.take_along_axis(scores, index[:, None], 1)).sum(1) - 1
        for at, k in enumerate(self.ks):
            self.hits[at] += int((others < k).sum())

    def outside_text(self) -> str:
        """What to report of labels that are no class; "" without any."""
        if not self.outside:
            return ""
        hint = "; do the labels count from 1?" if self._first == self.classes else ""
        where, verb = f" ({self._where})" if self._where else "", "is" if self.outside == 1 else "are"
        return (
            f"{self.outside} of {self.total} labels, the first {self._first:g}{where}, {verb} no class: "
            f"the net has {self.classes} (0 to {self.classes - 1}); they count as wrong{hint}"
        )

    @property
    def total(self) -> int:
        return int(self.counts.sum()) + self.outside

    def accuracy(self, k: int = 1) -> float:
        """Share of the pictures with the label among the best k; nan without any."""
        return self.hits[list(self.ks).index(k)] / self.total if self.total else float("nan")

    def recall(self) -> np.ndarray:
        """Of each class, the share of its pictures taken for it (classes,); nan without any."""
        with np.errstate(invalid="ignore", divide="ignore"):
            shares: np.ndarray = self.counts.diagonal() / self.counts.sum(1)
        return shares

    def precision(self) -> np.ndarray:
        """Of each class, the share of the pictures taken for it that belong to it (classes,); nan without any."""
        with np.errstate(invalid="ignore", divide="ignore"):
            shares: np.ndarray = self.counts.diagonal() / self.counts.sum(0)
        return shares

    def confusions(self, most: int = 10) -> list[tuple[int, int, int]]:
        """The most frequent mistakes: (label, taken for, how often)."""
        wrong = self.counts.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = [(int(at) // self.classes, int(at) % self.classes) for at in order]
        return [(label, best, int(wrong[label, best])) for label, best in pairs if wrong[label, best]]
