"""Emitters of layers that treat values by themselves, combine them or move them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caffecompat.deploy.torch_emission import CannotEmit, Emitted, Shape, emits, make, number, text_of
from caffecompat.net.build import NetLayer


@emits("ReLU")
def _relu(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    slope = layer.param.relu_param.negative_slope
    return Emitted(make("nn.LeakyReLU", slope) if slope else "nn.ReLU()")


@emits("ReLU6")
def _relu6(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    slope = layer.param.relu_param.negative_slope
    return Emitted("", f"F.relu6({{0}}) + {number(slope)} * {{0}}.clamp(max=0)") if slope else Emitted("nn.ReLU6()")


@emits("ELU")
def _elu(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    p = layer.param.elu_param
    factor = getattr(p, "lambda")
    if factor != 1:
        alpha = number(p.alpha)
        return Emitted("", f"{number(factor)} * {{0}}.clamp(min=0) + {alpha} * torch.expm1({{0}}.clamp(max=0))")
    return Emitted(make("nn.ELU", p.alpha))


@emits("Sigmoid", "TanH", "BNLL", "AbsVal", "Softmax", "Dropout", "Silence", "Split")
def _plain(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    if layer.type == "Softmax":
        return Emitted(f"nn.Softmax(dim={module.axis})")
    if layer.type == "Dropout":
        if module.always:
            raise CannotEmit("it drops at inference too (sample_weights_test)")
        return Emitted(make("nn.Dropout", module.ratio))
    if layer.type == "Split":
        return Emitted("", ", ".join(["{0}"] * len(tops)))
    return {
        "Sigmoid": Emitted("nn.Sigmoid()"),
        "TanH": Emitted("nn.Tanh()"),
        "BNLL": Emitted("nn.Softplus(threshold=50)"),
        "AbsVal": Emitted("", "{0}.abs()"),
        "Silence": Emitted(),
    }[layer.type]


@emits("Swish", "Clip", "Threshold", "Power", "Exp", "Log")
def _formula(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    if layer.type == "Swish":
        return (
            Emitted("nn.SiLU()") if module.beta == 1 else Emitted("", f"{{0}} * torch.sigmoid({module.beta!r} * {{0}})")
        )
    if layer.type == "Clip":
        return Emitted("", f"{{0}}.clamp({number(module.least)}, {number(module.most)})")
    if layer.type == "Threshold":
        return Emitted("", f"({{0}} > {number(layer.param.threshold_param.threshold)}).to({{0}}.dtype)")
    inner = "{0}" if module.scale == 1 else f"{{0}} * {_precise(module.scale)}"
    inner = f"{inner} + {_precise(module.shift)}" if module.shift else inner
    if layer.type == "Power":
        return Emitted("", inner if module.power == 1 else f"({inner}).pow({number(module.power)})")
    if layer.type == "Exp":
        return Emitted("", f"torch.exp({inner})")
    return Emitted("", f"torch.log({inner})" + (f" * {module.factor!r}" if module.factor != 1 else ""))


def _precise(value: float) -> str:
    """The shortest text with the same 32-bit value."""
    short = number(value)
    return short if np.float32(float(short)) == np.float32(value) else repr(value)


@emits("LRN", "MVN")
def _local(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    if layer.type == "MVN":
        p = layer.param.mvn_param
        text = f"MeanVarianceNorm({p.across_channels}, {p.normalize_variance}, {text_of(p.eps)})"
        return Emitted(text, helpers=("MeanVarianceNorm",))
    if module.across:
        return Emitted(
            make("nn.LocalResponseNorm", module.size, alpha=(module.alpha, None), beta=(module.beta, None),
                  k=(module.k, None))
        )  # fmt: skip
    text = f"WithinChannelNorm({module.size}, {text_of(module.alpha)}, {text_of(module.beta)})"
    return Emitted(text, helpers=("WithinChannelNorm",))


@emits("Eltwise")
def _eltwise(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    names = [f"{{{i}}}" for i in range(len(bottoms))]
    if module.operation == "MAX":
        text = names[0]
        for name in names[1:]:
            text = f"torch.maximum({text}, {name})"
        return Emitted("", text)
    if module.operation == "PROD":
        return Emitted("", " * ".join(names))
    text = "" if module.coeffs[0] == 1 else f"{number(module.coeffs[0])} * "
    text += names[0]
    for name, coeff in zip(names[1:], module.coeffs[1:], strict=True):
        factor = "" if abs(coeff) == 1 else f"{number(abs(coeff))} * "
        text += f" {'-' if coeff < 0 else '+'} {factor}{name}"
    return Emitted("", text)


@emits("Axpy")
def _axpy(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    shape = (*bottoms[1][:2], *(1,) * (len(bottoms[1]) - 2))
    return Emitted("", f"{{0}}.reshape({shape}) * {{1}} + {{2}}")


@emits("ArgMax")
def _arg_max(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    if module.top_k != 1 or module.with_values or module.axis is None:
        raise CannotEmit("only top_k 1 along an axis")
    return Emitted("", f"arg_max({{0}}, {module.axis})", helpers=("arg_max",))


@emits("Reduction")
def _reduction(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    axes = list(range(module.axis, len(bottoms[0])))
    text = {
        "MEAN": f"{{0}}.mean({axes})",
        "ASUM": f"{{0}}.abs().sum({axes})",
        "SUMSQ": f"{{0}}.square().sum({axes})",
        "SUM": f"{{0}}.sum({axes})",
    }[module.operation]
    return Emitted("", text if module.coeff == 1 else f"{text} * {number(module.coeff)}")


@emits("Concat", "Slice", "Flatten", "Reshape", "Permute", "Tile", "Crop", "Reorg", "GSTiling")
def _move(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    if layer.type == "Concat":
        names = ", ".join(f"{{{i}}}" for i in range(len(bottoms)))
        return Emitted("", f"torch.cat([{names}], {module.axis})" if len(bottoms) > 1 else "{0}")
    if layer.type == "Slice":
        return Emitted(
            "", f"{{0}}.split({[top[module.axis] for top in tops]}, {module.axis})" + ("[0]" if len(tops) == 1 else "")
        )
    if layer.type == "Flatten":
        end = "" if module.end == len(bottoms[0]) - 1 else f", {module.end}"
        return Emitted("", f"{{0}}.flatten({module.axis}{end})")
    if layer.type == "Reshape":
        target = list(tops[0])
        if bottoms[0][0] == target[0]:
            target[0] = -1  # any batch
        return Emitted("", f"{{0}}.reshape({', '.join(map(str, target))})")
    if layer.type == "Permute":
        return Emitted("", f"{{0}}.permute({', '.join(map(str, module.order))})")
    if layer.type == "Tile":
        repeats = [module.tiles if axis == module.axis else 1 for axis in range(len(bottoms[0]))]
        return Emitted("", f"{{0}}.repeat({repeats})")
    if layer.type == "Crop":
        text = "{0}"
        for axis, offset in enumerate(module.offsets, module.axis):
            text += f".narrow({axis}, {offset}, {tops[0][axis]})"
        return Emitted("", text)
    raise CannotEmit("its order of values is darknet's or Xilinx' own")
