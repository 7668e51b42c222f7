"""Layers without files: `DummyData`, and `Input`, which the caller of the net feeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from caffecompat.data.source import DataError, Request, Shape, Source, register_source
from caffecompat.schema import pb

__all__ = ["DummySource", "FedSource"]


@register_source("DummyData")
class DummySource(Source):
    """Blobs made by fillers (BVLC dummy_data_layer.cpp).

    One filler and one shape serve all tops, or each top has its own; without fillers all is 0. Constant
    blobs are filled once and handed out again and again (what is written there stays, as in Caffe),
    the others are made again for each batch.
    Fillers draw from torch's default generator.
    """

    def __init__(self, request: Request) -> None:
        param = request.layer.dummy_data_param
        tops = request.tops(1, len(request.layer.top))
        shapes = _dummy_shapes(param)
        fillers = list(param.data_filler) or [pb.FillerParameter()]
        self.top_shapes = _spread(shapes, tops, "shape")
        self._fillers = _spread(fillers, tops, "data_filler")
        self.constant_tops = {k: f.value for k, f in enumerate(self._fillers) if f.type == "constant"}
        self._blobs = [self._filled(shape, f) for shape, f in zip(self.top_shapes, self._fillers, strict=True)]

    def next(self) -> tuple[np.ndarray, ...]:
        for k, filler in enumerate(self._fillers):
            if k not in self.constant_tops:
                self._blobs[k] = self._filled(self.top_shapes[k], filler)
        return tuple(blob.numpy() for blob in self._blobs)

    @staticmethod
    def _filled(shape: Shape, filler: pb.FillerParameter) -> Any:
        import torch

        from caffecompat.layers.fillers import fill

        try:
            blob = torch.empty(shape)
        except RuntimeError:  # also where the number of bytes is more than 64 bits hold
            dims, size = " x ".join(map(str, shape)), 4 * math.prod(shape) / 2**30
            raise DataError(f"dummy_data_param.shape {dims} needs {size:,.1f} GiB, more than can be had") from None
        return fill(blob, filler)


def _dummy_shapes(param: pb.DummyDataParameter) -> list[Shape]:
    """From `shape`, or the old num, channels, height, width, each given once or for every top."""
    legacy = [list(param.num), list(param.channels), list(param.height), list(param.width)]
    if not any(legacy):
        shapes = [tuple(shape.dim) for shape in param.shape]
        if any(size < 0 for shape in shapes for size in shape):
            raise DataError(f"dummy_data_param.shape has a negative dim: {shapes}")
        return shapes
    if param.shape:
        raise DataError("dummy_data_param has both shape and num/channels/height/width; use shape")
    count = max(map(len, legacy))
    return list(zip(*(_spread(sizes, count, "num, channels, height and width") for sizes in legacy), strict=True))


def _spread(values: list[Any], count: int, what: str) -> list[Any]:
    if len(values) not in (1, count):
        raise DataError(f"dummy_data_param needs {what} once or {count} times, it has {len(values)}")
    return values * count if len(values) == 1 else values


class FedSource(Source):
    """Shapes of blobs whose values the caller of the net gives."""

    fed = True

    def __init__(self, shapes: list[Shape]) -> None:
        self.top_shapes = shapes

    def next(self) -> tuple[np.ndarray, ...]:
        raise DataError("this layer has no data of its own; the caller of the net gives its blobs")


@register_source("Input")
def _input(request: Request) -> Source:
    shapes = [tuple(shape.dim) for shape in request.layer.input_param.shape]
    tops = request.tops(1, len(request.layer.top))
    if len(shapes) not in (1, tops):
        raise DataError(f"input_param needs a shape once or {tops} times, it has {len(shapes)}")
    return FedSource(shapes * tops if len(shapes) == 1 else shapes)
