"""ONNX of Tiling, GSTiling and Reorg: channels exchanged for resolution."""

from __future__ import annotations

from caffecompat.deploy.onnx.emission import Emission, emits


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
