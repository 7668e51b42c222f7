"""ONNX of FlowNet2's layers."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from caffecompat.deploy.onnx.emission import Cannot, Emission, Shape, emits
from caffecompat.deploy.onnx.resize import resize
from caffecompat.layers.functional.weighted_resize import crop_axis, resample_axis, resample_nearest_axis, thin_axis

_GRID_SAMPLE = 16  # the opset that brought it
_GATHER_ELEMENTS = 11
_FEW = 3  # as many pixels are weighed one by one, more by a product with a matrix


@emits("Correlation", "Correlation1D")
def correlation(e: Emission) -> None:
    """For each row of displacements the products of whole rows (MatMul), of which Gather takes the displaced ones."""
    m, rules = e.module, e.module.rules
    (rows, columns), kernel, step = rules.displacements, rules.kernel, rules.stride if rules.kernel == 1 else 1
    least, most = min(columns), max(columns)
    outside = max(0, -(rules.margin[1] + least))
    counts = [
        (size + 2 * pad - 2 * margin - kernel) // rules.stride * rules.stride + kernel
        for size, pad, margin in zip(e.shape[2:], m.pad, rules.margin, strict=True)
    ]
    first, second = (_padded(e, value, m.pad, more) for value, more in zip(e.bottoms, (0, outside), strict=True))
    height, width = (-(-count // step) for count in counts)
    own = _pick(e, _pick(e, first, rules.margin[0], height, step, 2), rules.margin[1], width, step, 3)
    places = np.arange(width)[:, None] * step + np.array(columns) - least
    span = counts[1] + most - least
    second = _pick(e, second, outside + rules.margin[1] + least, span, 1, 3)
    if m.subtract:
        own = e.op("Unsqueeze", own, e.ints([4], "axes"))
    else:
        share = e.const(1 / e.shape[1], what="share")
        own = e.op("Transpose", e.op("Mul", own, share), perm=[0, 2, 3, 1])
    maps = []
    for row in rows:
        other = _pick(e, second, rules.margin[0] + row, height, step, 2)
        if m.subtract:
            displaced = e.op("Gather", other, e.ints(places, "places"), axis=3)
            made = e.reduce("ReduceMean", e.op("Abs", e.op("Sub", own, displaced)), [1], keep=False)
        else:
            products = e.op("MatMul", own, e.op("Transpose", other, perm=[0, 2, 1, 3]))
            products = e.reshape(products, (e.shape[0], height, width * span))
            flat = places + np.arange(width)[:, None] * span
            made = e.op("Gather", products, e.ints(flat, "places"), axis=2)
        maps.append(e.op("Transpose", made, perm=[0, 3, 1, 2]))
    top = e.op("Concat", *maps, axis=1) if len(maps) > 1 else maps[0]
    if kernel == 1:
        e.alias(0, top)
    else:
        e.op("AveragePool", top, to=e.tops[0], kernel_shape=[kernel] * 2, strides=[rules.stride] * 2)


def _padded(e: Emission, value: str, pad: tuple[int, int], outside: int) -> str:
    if not any((*pad, outside)):
        return value
    return e.pad(value, [0, 0, pad[0], pad[1] + outside], [0, 0, *pad], 0)


def _pick(e: Emission, value: str, start: int, count: int, step: int, axis: int) -> str:
    """`count` rows or columns from `start` on."""
    if step == 1:
        return e.slice(value, [start], [start + count], [axis])
    return e.op("Gather", value, e.ints(start + step * np.arange(count), "places"), axis=axis)


@emits("ChannelNorm")
def channel_norm(e: Emission) -> None:
    e.reduce("ReduceL2", e.bottoms[0], [1], to=e.tops[0])


@emits("FlowWarp")
def flow_warp(e: Emission) -> None:
    """GridSample, before opset 16 GatherElements of the four neighbors; Where for places that are nowhere."""
    if e.builder.opset < _GATHER_ELEMENTS:
        raise Cannot(f"opset {e.builder.opset} has neither GridSample nor GatherElements")
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


@emits("Resample")
def resample(e: Emission) -> None:
    """Resize where it is the same, else sums or products with the weights."""
    m, before, after = e.module, e.shape[2:], e.top_shapes[0][2:]
    factors = [size / made for size, made in zip(before, after, strict=True)]
    sizes = list(zip(before, after, reversed(factors), strict=True))
    if m.kind == "nearest":
        rows, columns = (e.ints(resample_nearest_axis(*size).numpy(), "places") for size in sizes)
        e.op("Gather", e.op("Gather", e.bottoms[0], rows, axis=2), columns, to=e.tops[0], axis=3)
    elif m.kind == "linear" and factors[0] == factors[1] <= 1:
        resize(e, e.bottoms[0], e.shape, e.top_shapes[0], "linear", "half_pixel", e.tops[0])
    else:
        wide = m.antialias and max(factors) > 1
        axes = [resample_axis(*size, m.kind == "cubic", wide) for size in sizes]
        e.alias(0, _weigh_plane(e, e.bottoms[0], before, axes))


@emits("Downsample")
def downsample(e: Emission) -> None:
    """Sums and weights of what is not NaN."""
    before, after = e.shape[2:], e.top_shapes[0][2:]
    if before == after:
        e.alias(0, e.bottoms[0])
        return
    zero, axes = e.const(0, what="zero"), [thin_axis(*sizes) for sizes in zip(before, after, strict=True)]
    lost = e.op("IsNaN", e.bottoms[0])
    known = e.op("Where", lost, zero, e.bottoms[0])
    share = e.cast(lost, np.float32)
    parts = (known, e.op("Sub", e.const(1, what="one"), share), share)
    total, weight, missing = (_weigh_plane(e, part, before, axes) for part in parts)
    empty = e.op("Greater", e.op("Div", missing, weight), e.const(0.5, what="half"))
    e.op("Where", empty, e.const(np.nan, what="nan"), e.op("Div", total, weight), to=e.tops[0])


@emits("Accum")
def accum(e: Emission) -> None:
    """Resize of each bottom, and Concat."""
    parts = list(zip(e.bottoms, e.bottom_shapes, strict=True))
    size = e.top_shapes[0][2:]
    made = [
        value if shape[2:] == size else resize(e, value, shape, (*shape[:2], *size), "linear", "align_corners")
        for value, shape in (parts[:-1] if e.module.reference else parts)
    ]
    if len(made) == 1:
        e.alias(0, made[0])
    else:
        e.op("Concat", *made, to=e.tops[0], axis=1)


@emits("DataAugmentation")
def data_augmentation(e: Emission) -> None:
    """The crop, whose last row and column are sums, and the mean."""
    m = e.module
    if not m.settled:
        raise Cannot("its mean is still to be computed; load weights that have it")
    if len(e.tops) > 1:
        raise Cannot("the coefficients of its second top are of training alone")
    value = e.bottoms[0]
    if m.crop is not None:
        axes = [crop_axis(*sizes) for sizes in zip(e.shape[2:], m.crop, strict=True)]
        value = _weigh_plane(e, value, e.shape[2:], axes)
    if m.fixed_mean is not None:
        mean = e.const(np.reshape(m.fixed_mean, (1, -1, 1, 1)), what="mean")
    elif m.wanted:
        mean = e.parameter("mean_picture" if m.per_pixel else "mean_values")
    else:
        e.alias(0, value)
        return
    e.op("Sub", value, mean, to=e.tops[0])


def _weigh_plane(e: Emission, value: str, sizes: Shape, axes: list[tuple[Tensor, Tensor]]) -> str:
    for axis, size, (places, weights) in zip((2, 3), sizes, axes, strict=True):
        value = _weigh(e, value, axis, size, places.numpy(), weights.numpy())
    return value


def _weigh(e: Emission, value: str, axis: int, size: int, places: np.ndarray, weights: np.ndarray) -> str:
    """The weighted sums (see `weigh_axis`) along axis 2 or 3, which has `size` values."""
    taps = [tap for tap in range(places.shape[1]) if weights[:, tap].any()] or [0]
    if len(taps) > _FEW:
        matrix = np.zeros((len(places), size))
        np.add.at(matrix, (np.arange(len(places))[:, None], places), weights)
        if axis == 2:
            return e.op("MatMul", e.const(matrix, what="down"), value)
        return e.op("MatMul", value, e.const(matrix.T, what="across"))
    parts = []
    for tap in taps:
        part = e.op("Gather", value, e.ints(places[:, tap], "places"), axis=axis)
        if (weights[:, tap] != 1).any():
            shares = weights[:, tap].reshape((1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1))
            part = e.op("Mul", part, e.const(shares, what="shares"))
        parts.append(part)
    made = parts[0]
    for part in parts[1:]:
        made = e.op("Add", made, part)
    return made
