"""SSD's batch samplers: random parts of a picture that show enough of its objects (SSD sampler.cpp)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from caffecompat.data.boxes import centers_inside, coverage, jaccard
from caffecompat.data.source import DataError
from caffecompat.schema import pb

__all__ = ["BatchSampler", "draw_sampler", "pick_sample"]

# A sampler that finds nothing is followed by another choice; where none can find anything, the picture stays whole.
_CHOICES = 1000
_MOST_TRIALS = 100_000
_NAMES = ("jaccard_overlap", "sample_coverage", "object_coverage")


class BatchSampler:
    """One `batch_sampler` of an `annotated_data_param`.

    Scale and aspect ratio are drawn evenly from their ranges, the ratio kept in [scale^2, 1 / scale^2] so that
    the part fits; then width scale * sqrt(ratio), height scale / sqrt(ratio), and its place. Where one of `min_width`,
    `max_width`, `min_height` and `max_height` is given, width and height are drawn evenly and apart (as in MLPerf's
    SSD), and a part outside the limits of the aspect ratio does not count. Without a `sampler`
    that is the whole picture. Up to `max_trials` are drawn, and the first `max_sample` (all, where it is not given)
    that fulfil the constraint count. Of several kinds of limits (jaccard overlap, sample coverage, object coverage)
    only the first counts: the fork goes through them in such a way that whatever passes it passes.
    """

    def __init__(self, param: pb.BatchSampler) -> None:
        sampler, self._constraint = param.sampler, param.sample_constraint
        self.on_original = param.use_original_image
        self._sides = _sides(sampler)
        self._scales = _range(sampler, "scale", 1)
        self._ratios = _aspect_limits(sampler) if self._sides else _range(sampler, "aspect_ratio", np.inf)
        self._trials = param.max_trials
        if self._trials > _MOST_TRIALS:
            raise DataError(f"batch_sampler: max_trials must be at most {_MOST_TRIALS:,}, it is {self._trials:,}")
        self._most = param.max_sample if param.HasField("max_sample") else param.max_trials
        self._every, self._least = self._constraint.every_object, self._constraint.min_objects
        self.measure = ""  # which of _MEASURES the constraint is about; "" asks nothing
        self._limits: tuple[np.float32, np.float32] = np.float32(-np.inf), np.float32(np.inf)
        for name in reversed(_NAMES):
            self._demand(name)
        if self._every and not self.measure:
            raise DataError(
                f"batch_sampler: every_object needs a limit that every object has to keep: min_{_NAMES[0]}, ..."
            )

    def _demand(self, name: str) -> None:
        """Take this measure's limits, if it has any."""
        low, high = (f"{side}_{name}" for side in ("min", "max"))
        constraint = self._constraint
        if constraint.HasField(low) or constraint.HasField(high):
            self.measure = name
            self._limits = (
                np.float32(getattr(constraint, low) if constraint.HasField(low) else -np.inf),
                np.float32(getattr(constraint, high) if constraint.HasField(high) else np.inf),
            )

    def boxes(self, generator: np.random.Generator) -> np.ndarray:
        """(K, 4) parts of a picture, whatever the constraint."""
        every_trial_may_fail = bool(self.measure or self._least or self._sides)
        trials = self._trials if every_trial_may_fail else min(self._trials, self._most)
        chance = generator.random((4, trials), np.float32)
        if self._sides:
            (low, high) = self._sides
            width, height = (low[axis] + (high[axis] - low[axis]) * chance[axis] for axis in range(2))
            fits = (width >= self._ratios[0] * height) & (width <= self._ratios[1] * height)
            width, height, chance = width[fits], height[fits], chance[:, fits]
        else:
            scale = self._scales[0] + (self._scales[1] - self._scales[0]) * chance[0]
            ratio = self._ratios[0] + (self._ratios[1] - self._ratios[0]) * chance[1]
            root = np.sqrt(ratio.clip(scale**2, 1 / scale**2))
            width, height = scale * root, scale / root
        boxes = np.empty((len(width), 4), np.float32)
        for axis, side in enumerate((width, height)):
            boxes[:, axis] = np.maximum(1 - side, 0) * chance[2 + axis]
            boxes[:, axis + 2] = boxes[:, axis] + side
        return boxes

    def chosen(self, boxes: np.ndarray, objects: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        """Those of the boxes (K, 4) that count in a picture with objects (G, 4).

        Args:
            values: (K, G), the `measure` of each box with each object; None computes it.
        """
        if self.measure:
            values = _MEASURES[self.measure](boxes, objects) if values is None else values
            within = (values >= self._limits[0]) & (values <= self._limits[1])
            passed = within.all(axis=1) if self._every else within.any(axis=1)
            boxes = boxes[passed]
        if self._least:
            boxes = boxes[centers_inside(objects, boxes).sum(axis=1) >= self._least]
        return boxes[: self._most]


def _range(sampler: pb.Sampler, name: str, most: float) -> tuple[np.float32, np.float32]:
    """The range of a Sampler's scale, aspect ratio, width or height.

    Raises:
        DataError: it is empty, or reaches out of (0, most].
    """
    low, high = getattr(sampler, "min_" + name), getattr(sampler, "max_" + name)
    if not 0 < low <= high <= most:
        limit = f" <= {most:g}" if np.isfinite(most) else ""
        raise DataError(f"batch_sampler: expected 0 < min_{name} <= max_{name}{limit}, found {low:g} and {high:g}")
    return np.float32(low), np.float32(high)


def _aspect_limits(sampler: pb.Sampler) -> tuple[np.float32, np.float32]:
    """The limits of the aspect ratio where these are given, else none."""
    low = sampler.min_aspect_ratio if sampler.HasField("min_aspect_ratio") else 0
    high = sampler.max_aspect_ratio if sampler.HasField("max_aspect_ratio") else np.inf
    if not 0 <= low <= high:
        raise DataError(f"batch_sampler: expected min_aspect_ratio <= max_aspect_ratio, found {low:g} and {high:g}")
    return np.float32(low), np.float32(high)


def _sides(sampler: pb.Sampler) -> tuple[tuple[np.float32, ...], tuple[np.float32, ...]] | None:
    """The least and the largest (width, height) where these are drawn apart, else None."""
    if not any(sampler.HasField(name) for name in ("min_width", "max_width", "min_height", "max_height")):
        return None
    if sampler.HasField("min_scale") or sampler.HasField("max_scale"):
        raise DataError("batch_sampler: the sampler has a scale, and a width or height of its own; give one of them")
    low, high = zip(_range(sampler, "width", 1), _range(sampler, "height", 1), strict=True)
    return low, high


_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "jaccard_overlap": jaccard,
    "sample_coverage": coverage,
    "object_coverage": lambda boxes, objects: coverage(objects, boxes).T,
}


def draw_sampler(
    samplers: Sequence[BatchSampler], objects: np.ndarray, generator: np.random.Generator
) -> np.ndarray | None:
    """A part of a picture with objects (G, 4): of one sampler, each chosen with the same probability.

    A sampler that finds nothing in its `max_trials` is followed by another choice, as MLPerf's SSD does it (there
    each choice has a single trial). A sampler without `sampler` and constraint leaves the picture whole.

    Returns:
        (4,), within the picture; None where there is no sampler, or none can find a part.
    """
    active = [sampler for sampler in samplers if sampler.on_original]
    for _ in range(_CHOICES if active else 0):
        sampler = active[generator.integers(len(active))]
        found = sampler.chosen(sampler.boxes(generator), objects)
        if len(found):
            part: np.ndarray = found[0].clip(0, 1)
            return part
    return None


def pick_sample(
    samplers: Sequence[BatchSampler], objects: np.ndarray, generator: np.random.Generator
) -> np.ndarray | None:
    """One of all the parts that the samplers found in a picture with objects (G, 4), by chance; None if there is none.

    Returns:
        (4,), within the picture.
    """
    active = [sampler for sampler in samplers if sampler.on_original]
    drawn = [sampler.boxes(generator) for sampler in active]
    found = []
    for measure in {sampler.measure: None for sampler in active}:  # the boxes of all samplers with it at once
        places = [place for place, sampler in enumerate(active) if sampler.measure == measure]
        boxes = np.concatenate([drawn[place] for place in places])
        values = _MEASURES[measure](boxes, objects) if measure else None
        at = 0
        for place in places:
            end = at + len(drawn[place])
            found.append(active[place].chosen(boxes[at:end], objects, None if values is None else values[at:end]))
            at = end
    parts = np.concatenate(found) if found else np.empty((0, 4), np.float32)
    return parts[generator.integers(len(parts))].clip(0, 1) if len(parts) else None
