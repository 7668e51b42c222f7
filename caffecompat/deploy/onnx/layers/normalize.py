"""ONNX of Normalize."""

from __future__ import annotations

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("Normalize")
def normalize(e: Emission) -> None:
    """x / sqrt(sum of squares + eps) x scale."""
    p = e.module.param.norm_param
    axes = range(1, len(e.shape)) if p.across_spatial else [1]
    sums = e.reduce("ReduceSumSquare", e.bottoms[0], axes)
    norm = e.op("Sqrt", e.op("Add", sums, e.const(p.eps, what="eps")))
    behind = (1,) * (len(e.shape) - 2)
    scale = e.parameter("scale", lambda s: s.reshape(-1, *behind) if s.size > 1 else s.reshape(()))
    e.op("Mul", e.op("Div", e.bottoms[0], norm), scale, to=e.tops[0])
