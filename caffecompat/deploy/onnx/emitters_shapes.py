"""ONNX of the layers that move values."""

from __future__ import annotations

import math

import numpy as np

from caffecompat.deploy.onnx.emission import Cannot, Emission, emits
from caffecompat.deploy.onnx.resize import resize
from caffecompat.layers.resampling import nearest_indices


@emits("Concat")
def concat(e: Emission) -> None:
    """Concat; of one bottom nothing."""
    if len(e.bottoms) == 1:
        e.alias(0, e.bottoms[0])
    else:
        e.op("Concat", *e.bottoms, to=e.tops[0], axis=e.module.axis)


@emits("Slice")
def slice_(e: Emission) -> None:
    """Split; for the DPU, which slices by strides, a Slice for each top."""
    if len(e.tops) == 1:
        e.alias(0, e.bottoms[0])
        return
    if e.target == "dpu":
        start = 0
        for top, shape in zip(e.tops, e.top_shapes, strict=True):
            e.slice(e.bottoms[0], [start], [start + shape[e.module.axis]], [e.module.axis], top)
            start += shape[e.module.axis]
        return
    sizes = e.ints([shape[e.module.axis] for shape in e.top_shapes], "sizes")
    e.builder.add("Split", [e.bottoms[0], sizes], e.tops, e.name, axis=e.module.axis)


@emits("Split")
def split(e: Emission) -> None:
    """Nothing: each top is the bottom."""
    for top in range(len(e.tops)):
        e.alias(top, e.bottoms[0])


@emits("Silence")
def silence(e: Emission) -> None:
    """Nothing at all."""


@emits("Flatten", "Reshape")
def reshape(e: Emission) -> None:
    """Reshape to the static shape; Flatten where it says the same."""
    if e.top_shapes[0] == e.shape:
        e.alias(0, e.bottoms[0])
    elif len(e.shape) > 1 and e.top_shapes[0] == (e.shape[0], math.prod(e.shape[1:])):
        e.op("Flatten", e.bottoms[0], to=e.tops[0], axis=1)
    else:
        e.reshape(e.bottoms[0], e.top_shapes[0], e.tops[0])


@emits("Permute", "Transpose")
def permute(e: Emission) -> None:
    """Transpose."""
    e.op("Transpose", e.bottoms[0], to=e.tops[0], perm=list(e.module.order))


@emits("Flip", "Reverse")
def flip(e: Emission) -> None:
    """A Gather from the last to the first along each axis."""
    value, axes = e.bottoms[0], e.module.axes
    for axis in axes:
        backwards = e.ints(range(e.shape[axis] - 1, -1, -1), f"backwards{axis}")
        value = e.op("Gather", value, backwards, to=e.tops[0] if axis == axes[-1] else None, axis=axis)
    if not axes:
        e.alias(0, value)


@emits("ShuffleChannel")
def shuffle_channel(e: Emission) -> None:
    """The groups as an axis of their own, that goes behind the channels of a group."""
    n, c, h, w = e.shape
    apart = e.reshape(e.bottoms[0], (n, e.module.group, c // e.module.group, h, w))
    e.reshape(e.op("Transpose", apart, perm=[0, 2, 1, 3, 4]), e.shape, e.tops[0])


@emits("Tile")
def tile(e: Emission) -> None:
    """Tile."""
    repeats = [e.module.tiles if axis == e.module.axis else 1 for axis in range(len(e.shape))]
    e.op("Tile", e.bottoms[0], e.ints(repeats, "repeats"), to=e.tops[0])


@emits("AutoCrop", "Crop")
def crop(e: Emission) -> None:
    """Slice at constant places; the reference's shape is known."""
    if e.shape == e.top_shapes[0]:
        e.alias(0, e.bottoms[0])
        return
    offsets = e.module.offsets
    axes = list(range(e.module.axis, len(e.shape)))
    ends = [offset + e.top_shapes[0][axis] for axis, offset in zip(axes, offsets, strict=True)]
    e.slice(e.bottoms[0], offsets, ends, axes, e.tops[0])


@emits("BatchReindex")
def batch_reindex(e: Emission) -> None:
    """Gather."""
    index = e.cast(e.reshape(e.bottoms[1], (-1,)), np.int64)
    e.op("Gather", e.bottoms[0], index, to=e.tops[0], axis=0)


@emits("Parameter")
def parameter(e: Emission) -> None:
    """The blob itself."""
    e.alias(0, e.parameter("value"))


@emits("Embed")
def embed(e: Emission) -> None:
    """Gather of the weight's rows."""
    index = e.cast(e.bottoms[0], np.int64)
    bias = e.module.bias is not None
    rows = e.op("Gather", e.parameter("weight"), index, to=None if bias else e.tops[0], axis=0)
    if bias:
        e.op("Add", rows, e.parameter("bias"), to=e.tops[0])


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
    coordinates = "align_corners"
    if e.target:
        if not e.options.approx:
            raise Cannot(
                f"{e.target.upper()} cannot resize with aligned corners, as Interp does; --approx writes a half_pixel "
                "Resize instead, which shifts values by up to half a pixel"
            )
        coordinates = "half_pixel"
        e.note("Interp (aligned corners) became a half_pixel Resize, which shifts values", exact=False)
    resize(e, value, shape, e.top_shapes[0], "linear", coordinates, e.tops[0])


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


@emits("Tiling")
def tiling(e: Emission) -> None:
    """DepthToSpace in channel-row-column order, which opsets before 11 do not have."""
    if e.builder.opset < 11:
        (n, c, h, w), side = e.shape, e.module.side
        blocks = e.reshape(e.bottoms[0], (n, c // side**2, side, side, h, w))
        e.reshape(e.op("Transpose", blocks, perm=[0, 1, 4, 2, 5, 3]), e.top_shapes[0], e.tops[0])
        return
    e.op("DepthToSpace", e.bottoms[0], to=e.tops[0], blocksize=e.module.side, mode="CRD")


@emits("GSTiling")
def gs_tiling(e: Emission) -> None:
    """SpaceToDepth, or back."""
    if e.module.reverse:
        e.op("DepthToSpace", e.bottoms[0], to=e.tops[0], blocksize=e.module.side, mode="DCR")
    else:
        e.op("SpaceToDepth", e.bottoms[0], to=e.tops[0], blocksize=e.module.side)


@emits("Reorg")
def reorg(e: Emission) -> None:
    """DepthToSpace backwards; forwards a SpaceToDepth between two readings of the same memory."""
    side = e.module.side
    if e.module.reverse:
        e.op("DepthToSpace", e.bottoms[0], to=e.tops[0], blocksize=side, mode="DCR")
        return
    n, c, h, w = e.shape
    read = e.reshape(e.bottoms[0], (n, c // side**2, h * side, w * side))
    e.reshape(e.op("SpaceToDepth", read, blocksize=side), e.top_shapes[0], e.tops[0])
