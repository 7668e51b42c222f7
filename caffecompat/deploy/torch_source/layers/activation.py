"""Torch source of the layers that treat every value by itself."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make, number


@emits("ReLU")
def relu(c: LayerView) -> Emitted:
    return Emitted(make("nn.LeakyReLU", c.module.slope) if c.module.slope else "nn.ReLU()")


@emits("ReLU6")
def relu6(c: LayerView) -> Emitted:
    if not c.module.slope:
        return Emitted("nn.ReLU6()")
    return Emitted(call=f"F.relu6({{0}}) + {number(c.module.slope)} * {{0}}.clamp(max=0)")


@emits("PReLU")
def prelu(c: LayerView) -> Emitted:
    # A blob of one value has the shape () in Caffe, (1) in torch: no two layers can share it by name.
    names = ("weight",) if c.blobs[0].ndim else ()
    slopes = c.blobs[0].reshape(-1)
    return Emitted(make("nn.PReLU", *([slopes.size] if slopes.size > 1 else [])), "", {"weight": slopes}, names)


@emits("ELU")
def elu(c: LayerView) -> Emitted:
    if c.module.scale == 1:
        return Emitted(make("nn.ELU", alpha=(c.module.alpha, 1.0)))
    above, below = number(c.module.scale), number(c.module.alpha)
    return Emitted(call=f"{above} * {{0}}.clamp(min=0) + {below} * torch.expm1({{0}}.clamp(max=0))")


_PLAIN = {
    "Sigmoid": Emitted("nn.Sigmoid()"),
    "TanH": Emitted("nn.Tanh()"),
    "BNLL": Emitted("nn.Softplus(threshold=50)"),
    "AbsVal": Emitted(call="{0}.abs()"),
}


@emits(*_PLAIN)
def plain(c: LayerView) -> Emitted:
    return _PLAIN[c.layer.type]


@emits("Swish", "SiLU")
def swish(c: LayerView) -> Emitted:
    if c.module.beta == 1:
        return Emitted("nn.SiLU()")
    return Emitted(call=f"{{0}} * torch.sigmoid({number(c.module.beta)} * {{0}})")


@emits("Mish")
def mish(c: LayerView) -> Emitted:
    return Emitted("nn.Mish()")


@emits("HardSigmoid")
def hard_sigmoid(c: LayerView) -> Emitted:
    return Emitted(call=f"({number(c.module.alpha)} * {{0}} + {number(c.module.beta)}).clamp(0, 1)")


@emits("HardSwish", "HSwish")
def hard_swish(c: LayerView) -> Emitted:
    return Emitted("nn.Hardswish()")


@emits("GELU")
def gelu(c: LayerView) -> Emitted:
    return Emitted('nn.GELU(approximate="tanh")')


@emits("Clip")
def clip(c: LayerView) -> Emitted:
    return Emitted(call=f"{{0}}.clamp({number(c.module.least)}, {number(c.module.most)})")


@emits("Threshold")
def threshold(c: LayerView) -> Emitted:
    return Emitted(call=f"({{0}} > {number(c.param.threshold_param.threshold)}).to({{0}}.dtype)")


def _scaled(c: LayerView) -> str:
    text = "{0}" if c.module.scale == 1 else f"{number(c.module.scale)} * {{0}}"
    if not c.module.shift:
        return text
    return f"{text} {'-' if c.module.shift < 0 else '+'} {number(abs(c.module.shift))}"


@emits("Power")
def power(c: LayerView) -> Emitted:
    inner = _scaled(c)
    if c.module.power == 1:
        return Emitted(call=inner)
    inner = inner if inner == "{0}" else f"({inner})"
    return Emitted(call=f"{inner}.pow({number(c.module.power)})")


@emits("Exp")
def exp(c: LayerView) -> Emitted:
    return Emitted(call=f"torch.exp({_scaled(c)})")


@emits("Log")
def log(c: LayerView) -> Emitted:
    factor = f"{number(c.module.factor)} * " if c.module.factor != 1 else ""
    return Emitted(call=f"{factor}torch.log({_scaled(c)})")
