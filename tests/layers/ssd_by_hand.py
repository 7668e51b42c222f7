"""SSD's rules one box at a time, as slow and plain as they come: what the vectorized layers are held against."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Box = np.ndarray


def area(box: Box) -> float:
    return float(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))


def overlap(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return float(width * height / (area(a) + area(b) - width * height))


def decode(code: str, prior: Box, values: Box) -> Box:
    size = np.array([prior[2] - prior[0], prior[3] - prior[1]])
    if code == "CORNER":
        return prior + values
    if code == "CORNER_SIZE":
        return prior + values * np.tile(size, 2)
    center = (prior[:2] + prior[2:]) / 2 + values[:2] * size
    half = np.exp(values[2:]) * size / 2
    return np.concatenate([center - half, center + half])


@dataclass
class Rules:
    """multibox_loss_param, as far as matching and mining read it."""

    threshold: float = 0.5
    per_prediction: bool = True
    ignore_crossing: bool = False
    ignore_difficult: bool = False


def match(boxes: list[Box], objects: list[Box], difficult: list[bool], rules: Rules) -> tuple[list[int], list[float]]:
    """For each box the object's number, -1 or -2; and its greatest overlap."""
    found, greatest = [-1] * len(boxes), [0.0] * len(boxes)
    overlaps: dict[tuple[int, int], float] = {}
    for b, box in enumerate(boxes):
        if rules.ignore_crossing and (min(box) < 0 or max(box) > 1):
            found[b] = -2
            continue
        for o, there in enumerate(objects):
            value = overlap(box, there)
            if value > 1e-6:
                overlaps[b, o] = value
                greatest[b] = max(greatest[b], value)
    pool = list(range(len(objects)))
    while pool:
        pairs = [(-value, b, o) for (b, o), value in overlaps.items() if found[b] == -1 and o in pool]
        if not pairs:
            break
        _, b, o = min(pairs)
        if rules.ignore_difficult and difficult[o]:
            found[b] = -2
        else:
            found[b] = o
            pool.remove(o)
    if rules.per_prediction:
        for b in range(len(boxes)):
            mine = [(-value, o) for (at, o), value in overlaps.items() if at == b and value >= rules.threshold]
            if found[b] == -1 and mine:
                found[b] = min(mine)[1]
    return found, greatest


def suppress(boxes: list[Box], threshold: float, eta: float = 1.0) -> list[bool]:
    """Which of the boxes, in order of falling score, stay."""
    stay: list[bool] = []
    for b, box in enumerate(boxes):
        keep = all(overlap(box, boxes[k]) <= threshold for k in range(b) if stay[k])
        stay.append(keep)
        if keep and eta < 1 and threshold > 0.5:
            threshold *= eta
    return stay


def worst(losses: list[float], candidates: list[int], count: int, boxes: list[Box] | None, nms: dict) -> set[int]:
    """The `count` candidates of greatest loss, after suppression among them where there are boxes."""
    order = sorted(candidates, key=lambda at: -losses[at])
    if boxes is not None:
        if nms["top_k"] >= 0:
            order = order[: nms["top_k"]]
        order = [at for at in order if area(boxes[at]) >= 1e-5]
        stay = suppress([boxes[at] for at in order], nms["threshold"])
        order = [at for at, keep in zip(order, stay, strict=True) if keep]
    return set(order[:count])


def class_loss(scores: np.ndarray, target: int, softmax: bool) -> float:
    if softmax:
        return float(np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[target])
    return float(sum(math.log1p(math.exp(s)) - (s if c == target else 0) for c, s in enumerate(scores)))


def integral(scores: list[float], hits: list[bool], objects: int, version: str) -> float:
    """Average precision, a detection at a time."""
    order = sorted(range(len(scores)), key=lambda at: -scores[at])
    precisions, recalls, found = [], [], 0
    for rank, at in enumerate(order, 1):
        found += hits[at]
        precisions.append(found / rank)
        recalls.append(np.float32(found / objects))
    if version == "11point":
        best = [
            max([p for p, r in zip(precisions, recalls, strict=True) if float(r) >= point / 10], default=0.0)
            for point in range(11)
        ]
        return sum(best) / 11
    total, before = 0.0, 0.0
    for at, (precision, recall) in enumerate(zip(precisions, recalls, strict=True)):
        height = max(precisions[at:]) if version == "MaxIntegral" else precision
        total += height * (recall - before)
        before = recall
    return float(total)
