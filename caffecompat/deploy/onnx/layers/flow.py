"""ONNX of ChannelNorm and FlowWarp."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, UnsupportedLayer, emits

_GRID_SAMPLE = 16  # the opset that brought it


_GATHER_ELEMENTS = 11


@emits("ChannelNorm")
def channel_norm(e: Emission) -> None:
    e.reduce("ReduceL2", e.bottoms[0], [1], to=e.tops[0])


@emits("FlowWarp")
def flow_warp(e: Emission) -> None:
    """GridSample, before opset 16 GatherElements of the four neighbors; Where for places that are nowhere."""
    if e.builder.opset < _GATHER_ELEMENTS:
        raise UnsupportedLayer(f"opset {e.builder.opset} has neither GridSample nor GatherElements")
    height, width = e.shape[2:]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)))[None]
    places = e.op("Add", e.bottoms[1], e.const(grid, what="grid"))
    limits = e.const(np.reshape([width, height], (1, 2, 1, 1)), what="limits")
    zero = e.const(0, what="zero")
    below = e.const(-np.finfo(np.float32).tiny, what="below")  # the greatest number that is below 0
    within = e.op("And", e.op("Greater", places, below), e.op("Less", places, limits))
    inside = e.op("And", *(e.slice(within, [axis], [axis + 1], [1]) for axis in (0, 1)))
    places = e.op("Where", inside, places, zero)
    sample = _grid_sample if e.builder.opset >= _GRID_SAMPLE else _four_neighbors
    e.op("Where", inside, sample(e, places), e.const(e.module.fill, what="fill"), to=e.tops[0])


def _grid_sample(e: Emission, places: str) -> str:
    """Whose places are -1 to 1 from the first pixel's center to the last one's."""
    scale = np.reshape([2 / max(size - 1, 1) for size in e.shape[:1:-1]], (1, 2, 1, 1))
    grid = e.op("Sub", e.op("Mul", places, e.const(scale, what="scale")), e.const(1, what="one"))
    grid = e.op("Transpose", grid, perm=[0, 2, 3, 1])
    mode = "linear" if e.builder.opset >= 20 else "bilinear"
    return e.op("GridSample", e.bottoms[0], grid, align_corners=1, mode=mode, padding_mode="border")


def _four_neighbors(e: Emission, places: str) -> str:
    items, channels, height, width = e.shape
    last = e.const(np.reshape([width - 1, height - 1], (1, 2, 1, 1)), what="last")
    low, one = e.op("Floor", places), e.const(1, what="one")
    high = e.op("Min", e.op("Add", low, one), last)
    share = e.op("Sub", places, low)
    pixels = e.reshape(e.bottoms[0], (items, channels, height * width))
    (left, upper), (right, lower), (across, down) = (
        [e.slice(value, [axis], [axis + 1], [1]) for axis in (0, 1)] for value in (low, high, share)
    )

    def at(row: str, column: str) -> str:
        place = e.op("Add", e.op("Mul", row, e.const(width, what="width")), column)
        flat = e.reshape(e.cast(place, np.int64), (items, 1, height * width))
        spread = e.op("Add", flat, e.ints(np.zeros((1, channels, 1)), "channels"))
        return e.reshape(e.op("GatherElements", pixels, spread, axis=2), e.shape)

    def between(first: str, other: str, part: str) -> str:
        return e.op("Add", e.op("Mul", first, e.op("Sub", one, part)), e.op("Mul", other, part))

    above, below = (between(at(row, left), at(row, right), across) for row in (upper, lower))
    return between(above, below, down)
