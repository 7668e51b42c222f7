"""Torch source of Upsample, Interp and DeephiResize."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, calling, emits, number, square, text_of


@emits("Upsample")
def upsample(c: LayerView) -> Emitted:
    m = c.module
    if m.repeats:
        return Emitted(call=f'F.interpolate({{0}}, scale_factor={m.scale[0]}, mode="nearest")')
    sides = [
        f"{{0}}.shape[{axis}] * {scale}{' - 1' if less else ''}"
        for axis, scale, less in zip((2, 3), m.scale, m.less, strict=True)
    ]
    size = text_of(m.outright) if m.outright is not None else f"({', '.join(sides)})"
    return Emitted(call=f"unpool({{0}}, {{1}}, {size})")


@emits("Interp")
def interp(c: LayerView) -> Emitted:
    p, bottom = c.param.interp_param, "{0}"
    if p.pad_beg or p.pad_end:
        cut = f"{-p.pad_beg or ''}:{p.pad_end or ''}"
        bottom = f"{{0}}[:, :, {cut}, {cut}]"
    if len(c.bottoms) == 2:
        return Emitted(call=f'F.interpolate({bottom}, {{1}}.shape[2:], mode="bilinear", align_corners=True)')
    if c.module.size is not None:
        return Emitted(call=f'F.interpolate({bottom}, {c.module.size}, mode="bilinear", align_corners=True)')
    return Emitted(call=calling("resize_by_corners", bottom, shrink=(c.module.shrink, 1), zoom=(c.module.zoom, 1)))


@emits("DeephiResize")
def deephi_resize(c: LayerView) -> Emitted:
    p = c.param.deephi_resize_param
    if p.HasField("new_height"):
        size = text_of((p.new_height, p.new_width))
        whole = p.new_height % c.shape[2] == 0 and p.new_width % c.shape[3] == 0
    elif p.scale_h == int(p.scale_h) and p.scale_w == int(p.scale_w):
        size, whole = f"scale_factor={text_of(square((int(p.scale_h), int(p.scale_w))))}", True
    else:
        sides = [f"int({number(scale)} * {{0}}.shape[{axis}])" for axis, scale in ((2, p.scale_h), (3, p.scale_w))]
        size, whole = f"({', '.join(sides)})", False
    if c.module.bilinear:
        return Emitted(call=f'F.interpolate({{0}}, {size}, mode="bilinear", align_corners=False)')
    if whole:
        return Emitted(call=f'F.interpolate({{0}}, {size}, mode="nearest")')
    return Emitted(call=f"resize_nearest({{0}}, {size})")
