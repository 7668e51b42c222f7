"""Emitters of FlowNet2's layers."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import CannotEmit, Case, Emitted, emits, make, text_of


@emits("Correlation", "Correlation1D")
def correlation(c: Case) -> Emitted:
    m = c.module
    rows, columns = (_steps(places) for places in m.rules.displacements)
    words = make(
        "", m.rules.kernel, m.rules.stride, m.rules.margin, pad=(m.pad, (0, 0)), subtract=(m.subtract, False)
    )  # fmt: skip
    return Emitted(call=f"correlate({{0}}, {{1}}, ({rows}, {columns}), {words[1:]}", helpers=("correlate",))


def _steps(places: tuple[int, ...]) -> str:
    """Places at equal distances."""
    if len(places) == 1:
        return text_of(places)
    step = places[1] - places[0]
    return f"range({places[0]}, {places[-1] + 1}{f', {step}' if step != 1 else ''})"


@emits("ChannelNorm")
def channel_norm(c: Case) -> Emitted:
    return Emitted(call="torch.linalg.vector_norm({0}, dim=1, keepdim=True)")


@emits("FlowWarp")
def flow_warp(c: Case) -> Emitted:
    fill = f", {text_of(c.module.fill)}" if c.module.fill != 0 else ""
    return Emitted(call=f"flow_warp({{0}}, {{1}}{fill})", helpers=("flow_warp",))


@emits("Resample")
def resample(c: Case) -> Emitted:
    size = _size(c, "{1}")
    if c.module.kind == "nearest":
        return Emitted(call=f"resample_nearest({{0}}, {size})", helpers=("resample_nearest",))
    words = make("", cubic=(c.module.kind == "cubic", False), antialias=(c.module.antialias, True))[1:]
    return Emitted(call=f"resample({{0}}, {size}{', ' if words != ')' else ''}{words}", helpers=("resample",))


@emits("Downsample")
def downsample(c: Case) -> Emitted:
    return Emitted(call=f"downsample({{0}}, {_size(c, '{1}')})", helpers=("downsample",))


def _size(c: Case, reference: str) -> str:
    """Height and width of the top, of the bottom that gives them where there is one."""
    return text_of(c.module.given) if len(c.bottoms) == 1 else f"{reference}.shape[2:]"


@emits("Accum")
def accum(c: Case) -> Emitted:
    parts = range(len(c.bottoms) - 1 if c.module.reference else len(c.bottoms))
    size = f"{{{len(c.bottoms) - 1}}}.shape[2:]" if c.module.reference else text_of(tuple(c.tops[0][2:]))
    resized = (f'F.interpolate({{{i}}}, {size}, mode="bilinear", align_corners=True)' for i in parts)
    return Emitted(call=f"torch.cat([{', '.join(resized)}], 1)")


@emits("DataAugmentation")
def data_augmentation(c: Case) -> Emitted:
    m = c.module
    if not m.settled:
        raise CannotEmit("its mean is still to be computed; load weights that have it")
    if len(c.tops) > 1:
        raise CannotEmit("the coefficients of its second top are of training alone")
    value = "{0}" if m.crop is None else f"crop_center({{0}}, {text_of(tuple(m.crop))})"
    helpers = () if m.crop is None else ("crop_center",)
    if m.fixed_mean is not None:
        mean = f"{{0}}.new_tensor({text_of(list(m.fixed_mean))}).view(1, -1, 1, 1)"
        return Emitted(call=f"{value} - {mean}", helpers=helpers)
    if not m.wanted:
        return Emitted(call=value, helpers=helpers)
    blob = c.blobs[1 if m.per_pixel else 2]
    module = f"nn.Parameter(torch.zeros({text_of(tuple(blob.shape))}), requires_grad=False)"
    return Emitted(module, f"{value} - {{self}}", {"": blob}, helpers=helpers)
