"""Emitters of pooling, resizing, and of channels exchanged for resolution."""

from __future__ import annotations

from typing import Any

from caffecompat.deploy.torch_source.emission import CannotEmit, Case, Emitted, emits, make, number, square, text_of
from caffecompat.schema import pb

_METHODS = {
    pb.PoolingParameter.MAX: "max",
    pb.PoolingParameter.AVE: "average",
    pb.PoolingParameter.STOCHASTIC: "stochastic",
}


@emits("Pooling")
def pooling(c: Case) -> Emitted:
    """torch's pooling where its windows are Caffe's for every size of the plane, else Caffe's own."""
    module, method, masked = c.module, _METHODS[c.module.method], len(c.tops) == 2
    if module.whole_plane and method != "stochastic" and not masked:
        return Emitted(call=f"{{0}}.{'mean' if method == 'average' else 'amax'}((2, 3), keepdim=True)")
    if module.whole_plane:
        size = "{0}.shape[2:]"
        if masked:
            return Emitted(call=f"F.max_pool2d({{0}}, {size}, return_indices=True)")
        return Emitted(call=f'pool_windows({{0}}, "{method}", {size}, {size})', helpers=("pool_windows",))
    window = module.window
    if method != "stochastic" and _torch_agrees(window):
        name = "nn.AvgPool2d" if method == "average" else "nn.MaxPool2d"
        text = make(
            name, square(window.kernel), stride=(square(window.stride), square(window.kernel)),
            padding=(square(window.pad), 0), ceil_mode=(window.ceil and window.stride != (1, 1), False),
            return_indices=(masked, False),
        )  # fmt: skip
        return Emitted(text)
    if masked:
        text = make("{0}", window.kernel, window.stride, pad=(window.pad, (0, 0)), ceil=(window.ceil, True))
        return Emitted(call=f"max_pool_with_places({{0}}, {text[4:]}", helpers=("max_pool_with_places",))
    words = make("", method, window.kernel, window.stride, pad=(window.pad, (0, 0)), ceil=(window.ceil, True))
    return Emitted(call=f"pool_windows({{0}}, {words[1:]}", helpers=("pool_windows",))


def _torch_agrees(window: Any) -> bool:
    """Whether torch has the same windows on every plane: it wants them to start inside, and pad <= k / 2."""
    inside = any(window.pad) or all(s <= k for s, k in zip(window.stride, window.kernel, strict=True))
    return (inside or not window.ceil) and all(2 * p <= k for p, k in zip(window.pad, window.kernel, strict=True))


@emits("Pooling3D")
def pooling_3d(c: Case) -> Emitted:
    """torch's pooling, which has the same windows where none can start past the end."""
    window = c.module.window
    if any(window.pad) or any(s > k for s, k in zip(window.stride, window.kernel, strict=True)):
        raise CannotEmit("windows of Pooling3D with a pad, or that do not touch, are others than torch's")
    name = "nn.AvgPool3d" if c.module.averages else "nn.MaxPool3d"
    return Emitted(make(name, window.kernel, stride=(window.stride, window.kernel), ceil_mode=(True, False)))


@emits("SPP")
def spp(c: Case) -> Emitted:
    text = f'pyramid_pool({{0}}, "{_METHODS[c.module.method]}", {c.module.levels})'
    return Emitted(call=text, helpers=("pyramid_pool",))


@emits("Im2col")
def im2col(c: Case) -> Emitted:
    m = c.module
    words = make(
        "", m.kernel, m.stride, m.pad, m.dilation, axis=(m.axis, 1)
    )  # fmt: skip
    call = ", ".join(f"im2col({{{i}}}, {words[1:]}" for i in range(len(c.bottoms)))
    return Emitted(call=call, helpers=("im2col",))


@emits("Upsample")
def upsample(c: Case) -> Emitted:
    m = c.module
    if m.repeats:
        return Emitted(call=f'F.interpolate({{0}}, scale_factor={m.scale[0]}, mode="nearest")')
    words = make("", scale=(m.scale, (2, 2)), less=(tuple(map(int, m.less)), (0, 0)))
    if m.outright is not None:
        words = make("", size=(m.outright, None))
    words = words[1:] if words == "()" else f", {words[1:]}"
    return Emitted(call=f"unpool({{0}}, {{1}}{words}", helpers=("unpool",))


@emits("Interp")
def interp(c: Case) -> Emitted:
    p, bottom = c.param.interp_param, "{0}"
    if p.pad_beg or p.pad_end:
        cut = f"{-p.pad_beg or ''}:{p.pad_end or ''}"
        bottom = f"{{0}}[:, :, {cut}, {cut}]"
    shrinks, zooms = p.HasField("shrink_factor"), p.HasField("zoom_factor")
    if p.HasField("height") and shrinks == zooms:
        return Emitted(call=f'F.interpolate({bottom}, {(p.height, p.width)}, mode="bilinear", align_corners=True)')
    words = make(
        "", shrink=(p.shrink_factor if shrinks else 1, 1), zoom=(p.zoom_factor if zooms else 1, 1)
    )  # fmt: skip
    words = ")" if words == "()" else f", {words[1:]}"
    return Emitted(call=f"resize_by_corners({bottom}{words}", helpers=("resize_by_corners",))


@emits("DeephiResize")
def deephi_resize(c: Case) -> Emitted:
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
    return Emitted(call=f"resize_nearest({{0}}, {size})", helpers=("resize_nearest",))


@emits("Tiling")
def tiling(c: Case) -> Emitted:
    return Emitted(f"nn.PixelShuffle({c.module.side})")


@emits("GSTiling")
def gs_tiling(c: Case) -> Emitted:
    name = "blocks_to_pixels" if c.module.reverse else "pixels_to_blocks"
    return Emitted(call=f"{name}({{0}}, {c.module.side})", helpers=(name,))


@emits("Reorg")
def reorg(c: Case) -> Emitted:
    name = "blocks_to_pixels" if c.module.reverse else "darknet_reorg"
    return Emitted(call=f"{name}({{0}}, {c.module.side})", helpers=(name,))
