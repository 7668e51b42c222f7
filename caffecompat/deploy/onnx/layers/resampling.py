"""ONNX of Upsample, Interp and DeephiResize."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, emits
from caffecompat.deploy.onnx.resize import resize
from caffecompat.layers.functional.resampling import nearest_indices


@emits("Upsample")
def upsample(e: Emission) -> None:
    """ScatterElements into zeros, plane by plane; Resize where there is no mask."""
    if len(e.bottoms) == 1:
        resize(e, e.bottoms[0], e.shape, e.top_shapes[0], "nearest", "asymmetric", e.tops[0])
        return
    n, c, h, w = e.shape
    height, width = e.top_shapes[0][2:]
    places = e.cast(e.reshape(e.bottoms[1], (n, c, h * w)), np.int64)
    zeros = e.op("ConstantOfShape", e.ints((n, c, height * width)))
    spread = e.op("ScatterElements", zeros, places, e.reshape(e.bottoms[0], (n, c, h * w)), axis=2)
    e.reshape(spread, e.top_shapes[0], e.tops[0])


@emits("Interp")
def interp(e: Emission) -> None:
    """Resize with align_corners, as the layer does."""
    p = e.module.param.interp_param
    value, shape = e.bottoms[0], e.shape
    if p.pad_beg or p.pad_end:
        ends = [shape[2] + p.pad_end, shape[3] + p.pad_end]
        value = e.slice(value, [-p.pad_beg] * 2, ends, [2, 3])
        shape = (*shape[:2], *(end + p.pad_beg for end in ends))
    if shape == e.top_shapes[0]:
        e.op("Identity", value, to=e.tops[0])
        return
    resize(e, value, shape, e.top_shapes[0], "linear", "align_corners", e.tops[0])


@emits("DeephiResize")
def deephi_resize(e: Emission) -> None:
    """Resize; nearest at odd ratios gathers rows and columns, because ONNX rounds in float32."""
    made = e.top_shapes[0]
    if made == e.shape:
        e.alias(0, e.bottoms[0])
    elif e.module.bilinear:
        resize(e, e.bottoms[0], e.shape, made, "linear", "half_pixel", e.tops[0])
    elif made[2] % e.shape[2] == 0 and made[3] % e.shape[3] == 0:
        resize(e, e.bottoms[0], e.shape, made, "nearest", "asymmetric", e.tops[0])
    else:
        rows = e.ints(nearest_indices(e.shape[2], made[2]), "rows")
        columns = e.ints(nearest_indices(e.shape[3], made[3]), "columns")
        e.op("Gather", e.op("Gather", e.bottoms[0], rows, axis=2), columns, to=e.tops[0], axis=3)
