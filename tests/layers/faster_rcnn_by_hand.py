"""Faster R-CNN's proposals box by box, in loops: an independent computation for tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Box = list[float]


def anchors_of(base: int, ratios: Sequence[float], scales: Sequence[float]) -> list[Box]:
    made = []
    for ratio in ratios:
        width = math.floor(math.sqrt(base * base / ratio) + 0.5)
        height = math.floor(width * ratio + 0.5)
        for scale in scales:
            center, w, h = (base - 1) / 2, width * scale, height * scale
            made.append([center - (w - 1) / 2, center - (h - 1) / 2, center + (w - 1) / 2, center + (h - 1) / 2])
    return made


def moved(anchor: Box, code: Sequence[float], height: float, width: float) -> Box:
    """The box that a code means at an anchor, cut at the border of the picture."""
    w, h = anchor[2] - anchor[0] + 1, anchor[3] - anchor[1] + 1
    x, y = anchor[0] + w / 2 + code[0] * w, anchor[1] + h / 2 + code[1] * h
    half_w, half_h = math.exp(code[2]) * w / 2, math.exp(code[3]) * h / 2
    limits = (width - 1, height - 1) * 2
    return [max(min(v, limit), 0) for v, limit in zip((x - half_w, y - half_h, x + half_w, y + half_h), limits,
                                                      strict=True)]  # fmt: skip


def overlap(a: Box, b: Box, one: float) -> float:
    """Intersection over union, where a box from 3 to 5 is 2 + `one` wide."""
    w = min(a[2], b[2]) - max(a[0], b[0]) + one
    h = min(a[3], b[3]) - max(a[1], b[1]) + one
    shared = max(w, 0) * max(h, 0)
    size = [(c[2] - c[0] + one) * (c[3] - c[1] + one) for c in (a, b)]
    return shared / (sum(size) - shared) if shared else 0.0


def greedy(boxes: Sequence[Box], threshold: float, one: float) -> list[int]:
    kept: list[int] = []
    for index, box in enumerate(boxes):
        if all(overlap(boxes[k], box, one) <= threshold for k in kept):
            kept.append(index)
    return kept


def candidates(anchors: Sequence[Box], scores: np.ndarray, codes: np.ndarray, stride: Sequence[int],
               height: float, width: float) -> list[tuple[float, Box]]:  # fmt: skip
    """(score, box) of one image, (2 A, H, W) and (4 A, H, W): row by row, column by column, anchor by anchor."""
    count = len(anchors)
    made = []
    for row in range(scores.shape[1]):
        for column in range(scores.shape[2]):
            for a, anchor in enumerate(anchors):
                shift = (column * stride[1], row * stride[0]) * 2
                place = [value + by for value, by in zip(anchor, shift, strict=True)]
                box = moved(place, codes[4 * a : 4 * a + 4, row, column].tolist(), height, width)
                made.append((float(scores[count + a, row, column]), box))
    return made


def py_faster_rcnn(scores: np.ndarray, codes: np.ndarray, info: Sequence[float], before: int, after: int,
                   stride: int = 16) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Regions (R, 5) and scores (R) of one image (1, ...), as its Python layer chooses them."""
    anchors = anchors_of(16, (0.5, 1, 2), (8, 16, 32))
    found = candidates(anchors, scores[0], codes[0], (stride, stride), *info[:2])
    least = 16 * info[2]
    found = [(s, b) for s, b in found if b[2] - b[0] + 1 >= least and b[3] - b[1] + 1 >= least]
    found.sort(key=lambda pair: -pair[0])
    found = found[:before]
    kept = greedy([box for _, box in found], 0.7, 1.0)[:after]
    return np.array([[0, *found[k][1]] for k in kept]), np.array([found[k][0] for k in kept])
