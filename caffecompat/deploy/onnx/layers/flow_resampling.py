"""ONNX of FlowNet2's Resample, Downsample and Accum."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, emits
from caffecompat.deploy.onnx.resize import resize
from caffecompat.deploy.onnx.weighted_resize import weigh_plane
from caffecompat.layers.functional.weighted_resize import resample_axis, resample_nearest_axis, thin_axis


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
        e.alias(0, weigh_plane(e, e.bottoms[0], before, axes))


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
    total, weight, missing = (weigh_plane(e, part, before, axes) for part in parts)
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
