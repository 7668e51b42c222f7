"""SSD's batch samplers: random parts of a picture that show enough of its objects (SSD sampler.cpp)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from caffecompat.data.boxes import coverage, jaccard
from caffecompat.data.source import DataError
from caffecompat.schema import pb

__all__ = ["BatchSampler", "pick_sample"]


class BatchSampler:
    """One `batch_sampler` of an `annotated_data_param`.

    Scale and aspect ratio are drawn evenly from their ranges, the ratio kept in [scale^2, 1 / scale^2] so that
    the part fits; then width scale * sqrt(ratio), height scale / sqrt(ratio), and its place. Without a `sampler`
    that is the whole picture. Up to `max_trials` are drawn, and the first `max_sample` (all, where it is not given)
    that fulfil the constraint count. Of several kinds of limits (jaccard overlap, sample coverage, object coverage)
    only the first counts: the fork goes through them in such a way that whatever passes it passes.
    """

    def __init__(self, param: pb.BatchSampler) -> None:
        sampler, self._constraint = param.sampler, param.sample_constraint
        self.on_original = param.use_original_image
        self._scales = np.float32(sampler.min_scale), np.float32(sampler.max_scale)
        self._ratios = np.float32(sampler.min_aspect_ratio), np.float32(sampler.max_aspect_ratio)
        if not 0 < sampler.min_scale <= sampler.max_scale <= 1:
            raise DataError(
                f"batch_sampler: expected 0 < min_scale <= max_scale <= 1, found {sampler.min_scale:g} and "
                f"{sampler.max_scale:g}"
            )
        if not 0 < sampler.min_aspect_ratio <= sampler.max_aspect_ratio:
            raise DataError(
                f"batch_sampler: expected 0 < min_aspect_ratio <= max_aspect_ratio, found "
                f"{sampler.min_aspect_ratio:g} and {sampler.max_aspect_ratio:g}"
            )
        self._trials = param.max_trials
        self._most = param.max_sample if param.HasField("max_sample") else param.max_trials
        self.measure = ""  # which of _MEASURES the constraint is about; "" asks nothing
        self._limits: tuple[np.float32, np.float32] = np.float32(-np.inf), np.float32(np.inf)
        for name in reversed(("jaccard_overlap", "sample_coverage", "object_coverage")):
            self._demand(name)

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
        trials = self._trials if self.measure else min(self._trials, self._most)
        chance = generator.random((4, trials), np.float32)
        scale = self._scales[0] + (self._scales[1] - self._scales[0]) * chance[0]
        ratio = self._ratios[0] + (self._ratios[1] - self._ratios[0]) * chance[1]
        root = np.sqrt(ratio.clip(scale**2, 1 / scale**2))
        boxes = np.empty((trials, 4), np.float32)
        for axis, side in enumerate((scale * root, scale / root)):
            boxes[:, axis] = np.maximum(1 - side, 0) * chance[2 + axis]
            boxes[:, axis + 2] = boxes[:, axis] + side
        return boxes

    def chosen(self, boxes: np.ndarray, values: np.ndarray | None) -> np.ndarray:
        """Those of the boxes that count; `values` (K, G) are their measures with each object."""
        if values is not None:
            low, high = self._limits
            boxes = boxes[np.any((values >= low) & (values <= high), axis=1)]
        return boxes[: self._most]


_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "jaccard_overlap": jaccard,
    "sample_coverage": coverage,
    "object_coverage": lambda boxes, objects: coverage(objects, boxes).T,
}


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
            found.append(active[place].chosen(boxes[at:end], None if values is None else values[at:end]))
            at = end
    parts = np.concatenate(found) if found else np.empty((0, 4), np.float32)
    return parts[generator.integers(len(parts))].clip(0, 1) if len(parts) else None
