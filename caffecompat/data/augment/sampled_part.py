"""SSD's way to a part of a picture: `expand_param`, then the batch samplers, both with the objects in view."""

from __future__ import annotations

import numpy as np

from caffecompat.data.augment.distort import Distortion
from caffecompat.data.augment.expansion import Canvas, Expansion
from caffecompat.data.augment.fill import mean_pixel
from caffecompat.data.augment.sample import Sample
from caffecompat.data.batch_sampler import BatchSampler, draw_sampler, pick_sample
from caffecompat.data.boxes import FULL
from caffecompat.data.transform import Window
from caffecompat.schema import pb

__all__ = ["SampledPart"]


class SampledPart:
    """What AnnotatedData does before it resizes (SSD's annotated_data_layer.cpp).

    distort_param; expand_param: onto a canvas of mean_value up to max_expand_ratio times as large; one of the parts
    that the batch_samplers draw, cut out. What will be cut away is not even distorted.
    """

    def __init__(self, layer: pb.LayerParameter) -> None:
        param = layer.transform_param
        self._mean = list(param.mean_value)
        self._expansion = Expansion.of(param)
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
        canvas = None if self._expansion is None else self._expansion.canvas(height, width, generator)
        if canvas is not None:
            expanded = np.array([-canvas.left, -canvas.top, canvas.width - canvas.left, canvas.height - canvas.top])
            sample = sample.seen_in((expanded / (width, height, width, height)).astype(np.float32), self._emit)
        canvas = canvas or Canvas(0, 0, height, width)
        assert sample.boxes is not None
        part = self._choose_part(self._samplers, sample.boxes, generator)
        if part is not None:
            sample = sample.seen_in(part, self._emit)
        cut = _pixels(FULL if part is None else part, canvas)
        return sample._replace(picture=self._painted(sample.picture, canvas, cut, generator))

    def _painted(self, picture: np.ndarray, canvas: Canvas, cut: Window, generator: np.random.Generator) -> np.ndarray:
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
        fill = np.rint(mean_pixel(self._mean, channels)).clip(0, 255).tolist()
        if not seen.size:
            return np.tile(np.array(fill, np.uint8), (cut.height, cut.width, 1))
        above, before = rows.start - top, columns.start - left
        below, behind = cut.height - above - seen.shape[0], cut.width - before - seen.shape[1]
        painted: np.ndarray = cv2.copyMakeBorder(seen, above, below, before, behind, cv2.BORDER_CONSTANT, value=fill)
        return painted.reshape(cut.height, cut.width, channels)


def _pixels(part: np.ndarray, canvas: Canvas) -> Window:
    """The pixels of a part (4,) of the canvas, sides and offsets rounded down; at least one."""
    left, top, right, bottom = (part * np.array([canvas.width, canvas.height] * 2, np.float32)).tolist()
    return Window(int(top), int(left), max(1, int(bottom - top)), max(1, int(right - left)), False)
