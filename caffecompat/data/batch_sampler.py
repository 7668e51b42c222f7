"""SSD's batch samplers: random parts of a picture that show enough of its objects (SSD sampler.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caffecompat.data.boxes import coverage, jaccard
from caffecompat.data.source import DataError

__all__ = ["BatchSampler", "pick_sample"]


class BatchSampler:
    """One `batch_sampler` of an `annotated_data_param`.

    Scale and aspect ratio are drawn evenly from their ranges, the ratio kept in [scale^2, 1 / scale^2] so that
    the part fits; then width scale * sqrt(ratio), height scale / sqrt(ratio), and its place. Without a `sampler`
    that is the whole picture. Up to `max_trials` are drawn, and the first `max_sample` (all, where it is not given)
    that fulfil the constraint count. Of several kinds of limits (jaccard overlap, sample coverage, object coverage)
    only the first counts: the fork goes through them in such a way that whatever passes it passes.
    """

    def __init__(self, param: Any) -> None:
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
        self._measure = ""
        self._limits: tuple[np.float32, np.float32] = np.float32(-np.inf), np.float32(np.inf)
        for name in reversed(("jaccard_overlap", "sample_coverage", "object_coverage")):
            self._demand(name)

    def _demand(self, name: str) -> None:
        """Take this measure's limits, if it has any."""
        low, high = (f"{side}_{name}" for side in ("min", "max"))
        constraint = self._constraint
        if constraint.HasField(low) or constraint.HasField(high):
            self._measure = name
            self._limits = (
                np.float32(getattr(constraint, low) if constraint.HasField(low) else -np.inf),
                np.float32(getattr(constraint, high) if constraint.HasField(high) else np.inf),
            )

    def draw(self, objects: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """(K, 4) parts of a picture whose objects' boxes are (G, 4)."""
        trials = self._trials if self._measure else min(self._trials, self._most)
        boxes = self._boxes(generator.random((4, trials), np.float32))
        if self._measure:
            boxes = boxes[self._satisfied(boxes, objects)]
        return boxes[: self._most]

    def _boxes(self, chance: np.ndarray) -> np.ndarray:
        scale = self._scales[0] + (self._scales[1] - self._scales[0]) * chance[0]
        ratio = self._ratios[0] + (self._ratios[1] - self._ratios[0]) * chance[1]
        ratio = ratio.clip(scale**2, 1 / scale**2)
        sides = np.stack([scale * np.sqrt(ratio), scale / np.sqrt(ratio)])
        corner = np.maximum(1 - sides, 0) * chance[2:]
        return np.concatenate([corner, corner + sides]).T

    def _satisfied(self, boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """(K,) whether the measure of some one object lies within the limits."""
        if self._measure == "jaccard_overlap":
            values = jaccard(boxes, objects)
        elif self._measure == "sample_coverage":
            values = coverage(boxes, objects)
        else:
            values = coverage(objects, boxes).T
        low, high = self._limits
        return np.any((values >= low) & (values <= high), axis=1)


def pick_sample(
    samplers: Sequence[BatchSampler], objects: np.ndarray, generator: np.random.Generator
) -> np.ndarray | None:
    """One of all the parts that the samplers found, by chance: (4,), within the picture; None if there is none."""
    found = [sampler.draw(objects, generator) for sampler in samplers if sampler.on_original]
    parts = np.concatenate(found) if found else np.empty((0, 4))
    return parts[generator.integers(len(parts))].clip(0, 1) if len(parts) else None
