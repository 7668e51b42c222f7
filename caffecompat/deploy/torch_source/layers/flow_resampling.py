"""Torch source of FlowNet2's Resample, Downsample and Accum."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, calling, emits, text_of


@emits("Resample")
def resample(c: LayerView) -> Emitted:
    size = _size(c, "{1}")
    if c.module.kind == "nearest":
        return Emitted(call=f"resample_nearest({{0}}, {size})")
    cubic, antialias = (c.module.kind == "cubic", False), (c.module.antialias, True)
    return Emitted(call=calling("resample", "{0}", size, cubic=cubic, antialias=antialias))


@emits("Downsample")
def downsample(c: LayerView) -> Emitted:
    return Emitted(call=f"downsample({{0}}, {_size(c, '{1}')})")


def _size(c: LayerView, reference: str) -> str:
    """Height and width of the top, of the bottom that gives them where there is one."""
    return text_of(c.module.given) if len(c.bottoms) == 1 else f"{reference}.shape[2:]"


@emits("Accum")
def accum(c: LayerView) -> Emitted:
    parts = range(len(c.bottoms) - 1 if c.module.reference else len(c.bottoms))
    size = f"{{{len(c.bottoms) - 1}}}.shape[2:]" if c.module.reference else text_of(tuple(c.tops[0][2:]))
    resized = (f'F.interpolate({{{i}}}, {size}, mode="bilinear", align_corners=True)' for i in parts)
    return Emitted(call=f"torch.cat([{', '.join(resized)}], 1)")
