"""ONNX of the layers that treat every value by itself."""

from __future__ import annotations

import math

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("ReLU")
def relu(e: Emission) -> None:
    """Relu, or LeakyRelu with a slope."""
    slope = e.module.slope
    if not slope:
        e.op("Relu", e.bottoms[0], to=e.tops[0])
        return
    e.op("LeakyRelu", e.bottoms[0], to=e.tops[0], alpha=float(slope))


@emits("ReLU6")
def relu6(e: Emission) -> None:
    """Clip to 0 ... 6; a slope adds slope min(x, 0)."""
    slope = e.module.slope
    clipped = clamp(e, e.bottoms[0], 0, 6, None if slope else e.tops[0])
    if slope:
        below = _below_zero(e)
        e.op("Add", clipped, e.scaled(below, slope, 0), to=e.tops[0])


def _below_zero(e: Emission) -> str:
    """min(x, 0), by Min: some boards clip to ranges that go above 0 alone."""
    return e.op("Min", e.bottoms[0], e.const(0))


@emits("Clip")
def clip(e: Emission) -> None:
    """Clip."""
    clamp(e, e.bottoms[0], e.module.least, e.module.most, e.tops[0])


def clamp(e: Emission, value: str, least: float, most: float, to: str | None) -> str:
    return e.op("Clip", value, e.const(least, what="min"), e.const(most, what="max"), to=to)


@emits("PReLU")
def prelu(e: Emission) -> None:
    """PRelu with the slopes along the channels."""
    behind = (1,) * (len(e.shape) - 2)
    slope = e.parameter("slope", lambda s: s.reshape(-1, *behind) if s.size > 1 else s.reshape(1))
    e.op("PRelu", e.bottoms[0], slope, to=e.tops[0])


@emits("ELU")
def elu(e: Emission) -> None:
    """Elu; with Jacinto's lambda lambda max(x, 0) + Elu(min(x, 0))."""
    if e.module.scale == 1:
        e.op("Elu", e.bottoms[0], to=e.tops[0], alpha=float(e.module.alpha))
        return
    above = e.scaled(e.op("Relu", e.bottoms[0]), e.module.scale, 0)
    below = e.op("Elu", _below_zero(e), alpha=float(e.module.alpha))
    e.op("Add", above, below, to=e.tops[0])


_PLAIN = {"Sigmoid": "Sigmoid", "TanH": "Tanh", "BNLL": "Softplus", "AbsVal": "Abs"}


@emits(*_PLAIN)
def plain(e: Emission) -> None:
    """The operator of the same meaning."""
    e.op(_PLAIN[e.module.type], e.bottoms[0], to=e.tops[0])


@emits("Swish", "SiLU")
def swish(e: Emission) -> None:
    """x Sigmoid(beta x)."""
    gate = e.op("Sigmoid", e.scaled(e.bottoms[0], e.module.beta, 0))
    e.op("Mul", e.bottoms[0], gate, to=e.tops[0])


@emits("Mish")
def mish(e: Emission) -> None:
    """x Tanh(Softplus(x)): the operator Mish is of opset 18."""
    e.op("Mul", e.bottoms[0], e.op("Tanh", e.op("Softplus", e.bottoms[0])), to=e.tops[0])


@emits("HardSigmoid")
def hard_sigmoid(e: Emission) -> None:
    """HardSigmoid."""
    e.op("HardSigmoid", e.bottoms[0], to=e.tops[0], alpha=float(e.module.alpha), beta=float(e.module.beta))


@emits("HardSwish", "HSwish")
def hard_swish(e: Emission) -> None:
    """x HardSigmoid(x): the operator HardSwish is of opset 14."""
    gate = e.op("HardSigmoid", e.bottoms[0], alpha=1 / 6, beta=0.5)
    e.op("Mul", e.bottoms[0], gate, to=e.tops[0])


@emits("GELU")
def gelu(e: Emission) -> None:
    """x (1 + Tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2: the operator Gelu is of opset 20."""
    x, factor = e.bottoms[0], math.sqrt(2 / math.pi)
    inner = e.op("Mul", x, e.scaled(e.op("Mul", x, x), 0.044715 * factor, factor))
    e.op("Mul", x, e.scaled(e.op("Tanh", inner), 0.5, 0.5), to=e.tops[0])


@emits("Threshold")
def threshold(e: Emission) -> None:
    """x > threshold as a float."""
    above = e.op("Greater", e.bottoms[0], e.const(e.module.threshold))
    e.cast(above, np.float32, to=e.tops[0])


@emits("Power")
def power(e: Emission) -> None:
    """(shift + scale x) ^ power."""
    m = e.module
    if m.power == 1:
        e.scaled(e.bottoms[0], m.scale, m.shift, e.tops[0])
        return
    inner = e.scaled(e.bottoms[0], m.scale, m.shift)
    if m.power == 2:
        e.op("Mul", inner, inner, to=e.tops[0])
    elif m.power == 0.5:
        e.op("Sqrt", inner, to=e.tops[0])
    else:
        e.op("Pow", inner, e.const(m.power, what="power"), to=e.tops[0])


@emits("Exp")
def exp(e: Emission) -> None:
    """base ^ (shift + scale x)."""
    e.op("Exp", e.scaled(e.bottoms[0], e.module.scale, e.module.shift), to=e.tops[0])


@emits("Log")
def log(e: Emission) -> None:
    """log_base(shift + scale x)."""
    inner = e.scaled(e.bottoms[0], e.module.scale, e.module.shift)
    if e.module.factor == 1:
        e.op("Log", inner, to=e.tops[0])
    else:
        e.scaled(e.op("Log", inner), e.module.factor, 0, e.tops[0])
