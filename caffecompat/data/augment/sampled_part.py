"""SSD's way to a part of a picture: `expand_param`, then the batch samplers, both with the objects in view."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from caffecompat.data.augment.distort import Distortion
from caffecompat.data.augment.fill import mean_pixel
from caffecompat.data.augment.sample import Sample
from caffecompat.data.batch_sampler import BatchSampler, draw_sampler, pick_sample
from caffecompat.data.boxes import FULL
from caffecompat.data.source import DataError
from caffecompat.data.transform import Window
from caffecompat.schema import pb

__all__ = ["SampledPart"]


class _Canvas(NamedTuple):
    """A picture lies at (top, left) on a mean-colored canvas of (height, width) pixels."""

    top: int
    left: int
    height: int
    width: int


class SampledPart:
    """What AnnotatedData does before it resizes (SSD's annotated_data_layer.cpp).

    distort_param; expand_param: onto a canvas of mean_value up to max_expand_ratio times as large; one of the parts
    that the batch_samplers draw, cut out. What will be cut away is not even distorted.
    """

    def __init__(self, layer: pb.LayerParameter) -> None:
        self._param = param = layer.transform_param
        self._expansion = _expansion(param)
        annotated = layer.annotated_data_param
        self._samplers = [BatchSampler(sampler) for sampler in annotated.batch_sampler]
        pooled = annotated.sampler_choice == pb.AnnotatedDataParameter.POOLED
        self._choose_part = pick_sample if pooled else draw_sampler
        self._distortion = Distortion.of(param)
        self._emit = param.emit_constraint if param.HasField("emit_constraint") else None

    @classmethod
    def of(cls, layer: pb.LayerParameter) -> SampledPart | None:
        """What an AnnotatedData layer asks for, None for other layers."""
        return cls(layer) if layer.type == "AnnotatedData" else None

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        height, width = sample.size
        canvas = self._expanded(height, width, generator)
        if canvas is not None:
            expanded = np.array([-canvas.left, -canvas.top, canvas.width - canvas.left, canvas.height - canvas.top])
            sample = sample.seen_in((expanded / (width, height, width, height)).astype(np.float32), self._emit)
        canvas = canvas or _Canvas(0, 0, height, width)
        assert sample.boxes is not None
        part = self._choose_part(self._samplers, sample.boxes, generator)
        if part is not None:
            sample = sample.seen_in(part, self._emit)
        cut = _pixels(FULL if part is None else part, canvas)
        return sample._replace(picture=self._painted(sample.picture, canvas, cut, generator))

    def _expanded(self, height: int, width: int, generator: np.random.Generator) -> _Canvas | None:
        probability, most = self._expansion
        if not probability or generator.random() > probability or abs(most - 1) < 1e-2:
            return None
        ratio = generator.uniform(1, most)
        new = int(height * ratio), int(width * ratio)
        top, left = (int(generator.uniform(0, room)) for room in (new[0] - height, new[1] - width))
        return _Canvas(top, left, *new)

    def _painted(self, picture: np.ndarray, canvas: _Canvas, cut: Window, generator: np.random.Generator) -> np.ndarray:
        """What shows of the picture in the `cut` of the canvas, distorted, with mean_value around it."""
        import cv2

        height, width, channels = picture.shape
        top, left = cut.top - canvas.top, cut.left - canvas.left  # of the cut, seen from the picture
        rows = slice(max(top, 0), max(0, min(top + cut.height, height)))
        columns = slice(max(left, 0), max(0, min(left + cut.width, width)))
        seen = picture[rows, columns]
        if seen.size and self._distortion is not None:
            seen = self._distortion.picture(seen, generator)
        if seen.shape[:2] == (cut.height, cut.width):
            return seen
        fill = mean_pixel(self._param, channels)
        if not seen.size:
            return np.tile(np.array(fill, np.uint8), (cut.height, cut.width, 1))
        above, before = rows.start - top, columns.start - left
        below, behind = cut.height - above - seen.shape[0], cut.width - before - seen.shape[1]
        painted: np.ndarray = cv2.copyMakeBorder(seen, above, below, before, behind, cv2.BORDER_CONSTANT, value=fill)
        return painted.reshape(cut.height, cut.width, channels)


def _pixels(part: np.ndarray, canvas: _Canvas) -> Window:
    """The pixels of a part (4,) of the canvas, sides and offsets rounded down; at least one."""
    left, top, right, bottom = (part * np.array([canvas.width, canvas.height] * 2, np.float32)).tolist()
    return Window(int(top), int(left), max(1, int(bottom - top)), max(1, int(right - left)), False)


def _expansion(param: pb.TransformationParameter) -> tuple[float, float]:
    """(probability, largest ratio) of expand_param; probability 0 without one."""
    if not param.HasField("expand_param"):
        return 0.0, 1.0
    most = param.expand_param.max_expand_ratio
    if most <= 1:
        raise DataError(f"expand_param.max_expand_ratio must be more than 1, it is {most:g}")
    if param.HasField("mean_file"):
        raise DataError("expand_param takes its color from mean_value; transform_param has a mean_file")
    return param.expand_param.prob, most
