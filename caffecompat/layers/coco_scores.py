"""COCO's average precision, as pycocotools computes it for boxes of any size.

It differs from SSD's and Pascal VOC's: a detection takes the best object that no better-scored one has taken; edges
have no width; a class's precision is read at 101 recalls; the mean is over ten overlaps from 0.5 to 0.95 and over the
classes that have objects. Crowds (difficult objects) neither count nor make a detection wrong, however many lie in one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["COCO_OVERLAPS", "CocoScores", "coco_scores"]

COCO_OVERLAPS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_MOST = 100  # detections of a class in a picture that count


@dataclass(frozen=True)
class CocoScores:
    """Average precision of each class at each of COCO_OVERLAPS, (C, 10); nan for classes without objects."""

    labels: np.ndarray
    precision: np.ndarray

    @property
    def ap(self) -> float:
        """COCO's mAP, the mean over overlaps 0.5 to 0.95."""
        return _mean(self.precision)

    @property
    def ap50(self) -> float:
        return _mean(self.precision[:, 0])

    @property
    def ap75(self) -> float:
        return _mean(self.precision[:, 5])


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def coco_scores(found: np.ndarray, there: np.ndarray, labels: np.ndarray) -> CocoScores:
    """Score a data set.

    Args:
        found: (K, 7), rows [picture, class, score, xmin, ymin, xmax, ymax] in pixels.
        there: (G, 8), rows [picture, class, -, xmin, ymin, xmax, ymax, crowd].
        labels: the classes.
    """
    precision = np.full((len(labels), len(COCO_OVERLAPS)), np.nan)
    for at, label in enumerate(labels):
        mine, objects = found[found[:, 1] == label], there[there[:, 1] == label]
        count = int((objects[:, 7] == 0).sum())
        if count:
            precision[at] = _class_precision(mine, objects, count)
    return CocoScores(labels, precision)


def _class_precision(found: np.ndarray, there: np.ndarray, count: int) -> np.ndarray:
    """Average precision at each overlap, of one class."""
    found = found[np.lexsort((-found[:, 2], found[:, 0]))]
    found = found[_places(found[:, 0]) < _MOST]
    hit, ignored = _match(found, there)
    order = np.argsort(-found[:, 2], kind="stable")
    right = np.cumsum((hit & ~ignored)[:, order], 1)
    wrong = np.cumsum((~hit & ~ignored)[:, order], 1)
    result = np.zeros(len(COCO_OVERLAPS))
    for at in range(len(COCO_OVERLAPS)):
        precision = right[at] / np.maximum(right[at] + wrong[at], np.spacing(1))
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
        result[at] = envelope[np.searchsorted(right[at] / count, _RECALLS)].mean()
    return result


def _places(groups: np.ndarray) -> np.ndarray:
    """The place of each entry in its group; the entries of a group lie together."""
    _, starts, sizes = np.unique(groups, return_index=True, return_counts=True)
    return np.arange(len(groups)) - np.repeat(starts, sizes)


def _match(found: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each detection took an object, and whether that was a crowd: (10, K) each.

    `found` is sorted by picture and falling score. All pictures go on together: first the best detection of each
    takes its object, then the second, and so on.
    """
    hit = np.zeros((len(COCO_OVERLAPS), len(found)), bool)
    ignored = np.zeros_like(hit)
    if not len(found) or not len(there):
        return hit, ignored
    pictures, column = np.unique(there[:, 0], return_inverse=True)
    order = np.argsort(column, kind="stable")
    there, column = there[order], column[order]
    place = _places(column)
    boxes = np.zeros((len(pictures), place.max() + 1, 4))
    boxes[column, place] = there[:, 3:7]
    free, crowd = (np.zeros(boxes.shape[:2], bool) for _ in range(2))
    free[column, place], crowd[column, place] = there[:, 7] == 0, there[:, 7] != 0
    free = np.repeat(free[None], len(COCO_OVERLAPS), 0)
    rank = _places(found[:, 0])
    row = np.searchsorted(pictures, found[:, 0]).clip(max=len(pictures) - 1)
    concerned = pictures[row] == found[:, 0]
    for turn in range(int(rank.max()) + 1):
        now = np.flatnonzero((rank == turn) & concerned)
        at = row[now]
        overlap = _overlaps(found[now, 3:7], boxes[at], crowd[at])
        took, which = _best(overlap, free[:, at])
        level, entry = np.nonzero(took)
        free[level, at[entry], which[level, entry]] = False
        in_crowd, _ = _best(overlap, np.broadcast_to(crowd[at], (len(COCO_OVERLAPS), *crowd[at].shape)))
        hit[:, now] = took | in_crowd
        ignored[:, now] = in_crowd & ~took
    return hit, ignored


def _best(overlap: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which detections find an allowed object at each overlap, and which object: the best, the last of equals."""
    values = np.where(allowed, overlap, -1)
    which = values.shape[2] - 1 - values[:, :, ::-1].argmax(2)
    reached = np.take_along_axis(values, which[:, :, None], 2)[:, :, 0]
    return reached >= np.minimum(COCO_OVERLAPS, 1 - 1e-10)[:, None], which


def _overlaps(box: np.ndarray, boxes: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Of each detection (Q, 4) with the objects of its picture (Q, G, 4); with a crowd, the part that lies in it."""
    low = np.maximum(box[:, None, :2], boxes[..., :2])
    extent = (np.minimum(box[:, None, 2:], boxes[..., 2:]) - low).clip(min=0)
    shared = extent[..., 0] * extent[..., 1]
    mine = ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]))[:, None]
    theirs = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    union = np.where(crowd, mine, mine + theirs - shared)
    overlap: np.ndarray = shared / np.where(union > 0, union, 1)
    return overlap
