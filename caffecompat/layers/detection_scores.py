"""Hits and misses among detections, and the average precision made of them.

SSD's DetectionEvaluate, ``ComputeAP`` and the sums of ``TestDetection``.
"""

from __future__ import annotations

import numpy as np

__all__ = ["AP_VERSIONS", "COCO", "DetectionScores", "average_precision", "judge"]

AP_VERSIONS = ("11point", "MaxIntegral", "Integral")  # of SSD's ap_version
COCO = "COCO"  # what ap_version is here besides: see coco_scores
_LEAST_STEP = 1e-6  # recall steps up to this count as none


def judge(
    found: np.ndarray, there: np.ndarray, overlaps: np.ndarray, threshold: float, *, difficult_counts: bool
) -> np.ndarray:
    """Which detections found an object.

    Args:
        found: (K, 7), rows [image, class, score, box].
        there: (G, 8), rows [image, class, instance, box, difficult].
        overlaps: (K, G).
        threshold: a detection's best overlap with an object of its image and class must reach it.
        difficult_counts: False makes detections of difficult objects neither hit nor miss.

    Returns:
        (K, 5), rows [image, class, score, hit, miss] by image, class and, where the image has the class, score. An
        object is hit once, by the best-scored of those detections to which it is the best.
    """
    same = (found[:, None, 0] == there[None, :, 0]) & (found[:, None, 1] == there[None, :, 1])
    order = np.lexsort((np.where(same.any(1), -found[:, 2], 0), found[:, 1], found[:, 0]))
    rows = np.zeros((len(order), 5), np.float32)
    rows[:, :3] = found[order, :3]
    if not len(there):
        rows[:, 4] = 1
        return rows
    overlaps = np.where(same, overlaps, -1)[order]
    best = overlaps.argmax(1)
    meets = overlaps.max(1) >= np.float32(threshold)
    first = np.zeros(len(order), bool)
    first[np.unique(np.where(meets, best, -1), return_index=True)[1]] = True
    rows[:, 3] = meets & first
    rows[:, 4] = ~(meets & first)
    if not difficult_counts:
        rows[meets & (there[best, 7] != 0), 3:] = 0
    return rows


def average_precision(scores: np.ndarray, hits: np.ndarray, objects: int, version: str = "Integral") -> float:
    """Area under the curve of precision over recall.

    Args:
        scores: (K) of all detections of a class, in any order; equal ones keep theirs.
        hits: (K) bool; the others are misses.
        objects: how many there are to find.
        version: "11point", the mean of the greatest precision at recall 0, 0.1, ... 1 or beyond (VOC 2007);
            "MaxIntegral", precision taken as the greatest at that recall or beyond (VOC 2010 on, ILSVRC);
            "Integral", precision as it is.

    Returns:
        0 to 1; 0 without detections or objects.
    """
    if version not in AP_VERSIONS:
        raise ValueError(f"ap_version {version!r}: expected {', '.join(AP_VERSIONS)}")
    if not len(scores) or not objects:
        return 0.0
    found = np.cumsum(hits[np.argsort(-scores, kind="stable")])
    # In float32, as the original: at 11 points 7 of 10 objects do not reach a recall of 0.7.
    precision = (found / np.arange(1, len(found) + 1)).astype(np.float32)
    recall = (found / np.float64(objects)).astype(np.float32).astype(np.float64)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if version == "11point":
        place = np.searchsorted(recall, np.arange(11) / 10.0)
        return float(np.append(envelope, 0)[place].sum(dtype=np.float64) / 11)
    steps = np.diff(recall, prepend=0)
    steps[1:][steps[1:] <= _LEAST_STEP] = 0
    curve = envelope if version == "MaxIntegral" else precision
    return float((curve * steps).sum(dtype=np.float64))


class DetectionScores:
    """Collects the tops of a DetectionEvaluate layer, batch by batch.

    Attributes:
        objects: how many objects of each class there were; every class but the background is a key.
    """

    def __init__(self) -> None:
        self.objects: dict[int, int] = {}
        self._rows: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Add rows [-1, class, objects, -1, -1] and [image, class, score, hit, miss], (..., 5)."""
        rows = rows.reshape(-1, 5)
        counts = rows[rows[:, 0] == -1]
        for label, count in counts[:, 1:3].astype(int).tolist():
            self.objects[label] = self.objects.get(label, 0) + count
        # Neither hit nor miss: found a difficult object that does not count.
        self._rows.append(rows[(rows[:, 0] != -1) & (rows[:, 3] + rows[:, 4] > 0)])

    def average_precisions(self, version: str = "Integral") -> dict[int, float | None]:
        """Average precision of each class; None for one without a single detection."""
        rows = np.concatenate(self._rows) if self._rows else np.zeros((0, 5), np.float32)
        result: dict[int, float | None] = {}
        for label, count in sorted(self.objects.items()):
            mine = rows[rows[:, 1] == label]
            hits = mine[:, 3] > 0
            result[label] = average_precision(mine[:, 2], hits, count, version) if len(mine) else None
        return result

    def mean_of_present(self, version: str = "Integral") -> float:
        """Mean over the classes that have objects, as VOC's and COCO's tools take it; nan without any."""
        values = self.average_precisions(version)
        present = [label for label, count in self.objects.items() if count]
        return sum(values[label] or 0.0 for label in present) / len(present) if present else float("nan")

    def mean(self, version: str = "Integral") -> float:
        """Mean over all classes, those without objects or detections counting as 0 (SSD); nan without any class."""
        values = self.average_precisions(version).values()
        return sum(value or 0.0 for value in values) / len(values) if values else float("nan")
