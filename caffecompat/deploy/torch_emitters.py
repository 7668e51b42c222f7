"""For each layer type: the torch module or expression that computes it in an exported file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from caffecompat.net.build import NetLayer
from caffecompat.schema import pb

__all__ = ["EMITTERS", "CannotEmit", "Emitted"]

Shape = tuple[int, ...]


class CannotEmit(Exception):
    """A layer has no counterpart; says why."""


@dataclass
class Emitted:
    """What a layer is in the file.

    Attributes:
        module: the expression that makes its module ("" for none), such as ``nn.ReLU()``.
        call: how its tops come about, with {0}, {1}, ... for the bottoms; "" calls the module with all of them.
        state: what the module's state_dict has under it.
        blobs: names in `state` of the layer's blobs, in Caffe's order, where they are the same values in the same
            shape, so that layers can share them.
        helpers: pieces of torch_helpers used.
    """

    module: str = ""
    call: str = ""
    state: dict[str, np.ndarray] = field(default_factory=dict)
    blobs: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()


Emitter = Callable[[NetLayer, list[np.ndarray], Sequence[Shape], Sequence[Shape]], Emitted]
EMITTERS: dict[str, Emitter] = {}


def _emits(*types: str) -> Callable[[Emitter], Emitter]:
    def register(emitter: Emitter) -> Emitter:
        EMITTERS.update(dict.fromkeys(types, emitter))
        return emitter

    return register


def _make(name: str, *values: object, **settings: tuple[object, object]) -> str:
    """A constructor call; each setting is (value, default) and is left out at its default."""
    words = [_text(value) for value in values]
    words += [f"{key}={_text(value)}" for key, (value, default) in settings.items() if value != default]
    return f"{name}({', '.join(words)})"


def _text(value: object) -> str:
    """Python text of a value; floats that protobuf keeps in 32 bits as short as they were written."""
    if isinstance(value, float):
        return repr(float(str(np.float32(value)))) if math.isfinite(value) else f"float('{value}')"
    return repr(value)


def _number(value: float) -> str:
    text = _text(value)
    return text.removesuffix(".0")


def _square(values: Sequence[int]) -> object:
    """One number where all are the same."""
    return values[0] if len(set(values)) == 1 else tuple(values)


# ------------------------------------------------------------------------------------------------ with weights


@_emits("Convolution", "Deconvolution", "ConvolutionDepthwise", "DepthwiseConvolution")
def _windowed(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    if module.axis != 1:
        raise CannotEmit("its channels are not on axis 1")
    reverse = layer.type == "Deconvolution"
    axes = len(module.kernel)
    module_text = _make(
        f"nn.Conv{'Transpose' if reverse else ''}{axes}d", bottoms[0][1], tops[0][1], _square(module.kernel),
        stride=(_square(module.stride), 1), padding=(_square(module.pad), 0),
        dilation=(_square(module.dilation), 1), groups=(module.group, 1), bias=(len(blobs) > 1, True),
    )  # fmt: skip
    names = ("weight", "bias")[: len(blobs)]
    call = "" if len(bottoms) == 1 else ", ".join(f"{{self}}({{{i}}})" for i in range(len(bottoms)))
    return Emitted(module_text, call, dict(zip(names, blobs, strict=True)), names)


@_emits("InnerProduct")
def _inner_product(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    weight = blobs[0].T if module.transpose else blobs[0]
    outputs, inputs = weight.shape
    axis = module.axis
    bottom = "{0}" if len(bottoms[0]) == axis + 1 else f"{{0}}.flatten({axis})"
    state = dict(zip(("weight", "bias"), [np.ascontiguousarray(weight), *blobs[1:]], strict=False))
    return Emitted(
        _make("nn.Linear", inputs, outputs, bias=(len(blobs) > 1, True)),
        f"{{self}}({bottom})",
        state,
        () if module.transpose else tuple(state),
    )


@_emits("Embed")
def _embed(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    if len(blobs) > 1 and blobs[1].any():
        raise CannotEmit("nn.Embedding has no bias")
    return Emitted(_make("nn.Embedding", *blobs[0].shape), "{self}({0}.long())", {"weight": blobs[0]}, ("weight",))


def _norm(channels: int, axes: int, parts: dict[str, np.ndarray], eps: float) -> Emitted:
    affine = "weight" in parts
    state = {name: values.reshape(-1) for name, values in parts.items()}
    state["num_batches_tracked"] = np.zeros((), np.int64)
    kind = {2: "1d", 3: "1d", 4: "2d", 5: "3d"}.get(axes)
    if kind is None:
        raise CannotEmit(f"torch normalises no blobs of {axes} axes")
    return Emitted(_make(f"nn.BatchNorm{kind}", channels, eps=(eps, 1e-5), affine=(affine, True)), state=state)


@_emits("BatchNorm")
def _batch_norm(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    parts = dict(zip(module.blob_names, blobs, strict=True))
    affine = {"weight": parts["scale"], "bias": parts["bias"]} if "scale" in parts else {}
    if module.uses_batch_statistics:
        text = _make("BatchStatisticsNorm", module.channels, float(module.eps), affine=(bool(affine), True))
        return Emitted(text, "", affine, helpers=("BatchStatisticsNorm",))
    mean, variance = parts["mean"], parts["variance"]
    if module.layout == "bvlc":
        factor = np.float32(1 / parts["factor"][0] if parts["factor"][0] else 0)
        mean, variance = mean * factor, variance * factor
    return _norm(
        module.channels, len(bottoms[0]), affine | {"running_mean": mean, "running_var": variance}, float(module.eps)
    )


@_emits("BN")
def _bn(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    if len(layer.tops) > 1:
        raise CannotEmit("its statistics are tops of their own")
    channels = bottoms[0][1]
    affine = {"weight": blobs[0].reshape(-1), "bias": blobs[1].reshape(-1)}
    if module.keeps_statistics:
        statistics = {"running_mean": blobs[2], "running_var": blobs[3]}
        return _norm(channels, len(bottoms[0]), affine | statistics, float(module.eps))
    if module.folded:
        return _affine((channels, 1, 1), affine)
    return Emitted(f"BatchStatisticsNorm({channels}, 1e-09)", "", affine, helpers=("BatchStatisticsNorm",))


def _affine(shape: Shape, parts: dict[str, np.ndarray]) -> Emitted:
    text = _make("ChannelAffine", shape, weight=("weight" in parts, True), bias=("bias" in parts, True))
    return Emitted(
        text, "", {name: values.reshape(shape) for name, values in parts.items()}, helpers=("ChannelAffine",)
    )


@_emits("Scale", "Bias")
def _scale(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    behind = len(bottoms[0]) - module.axis
    if len(bottoms) == 2:
        if blobs:
            raise CannotEmit("a bias behind a factor that is a bottom")
        shape = (*bottoms[1], *(1,) * (behind - len(bottoms[1])))
        other = "{1}" if shape == tuple(bottoms[1]) else f"{{1}}.reshape({shape})"
        return Emitted(call=f"{{0}} {'*' if layer.type == 'Scale' else '+'} {other}")
    names = ("weight", "bias") if layer.type == "Scale" else ("bias",)
    shape = (*blobs[0].shape, *(1,) * (behind - blobs[0].ndim))
    return _affine(shape, dict(zip(names, blobs, strict=False)))


@_emits("PReLU")
def _prelu(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    return Emitted(_make("nn.PReLU", blobs[0].size), state={"weight": blobs[0].reshape(-1)})


@_emits("Normalize")
def _normalize(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    p = layer.param.norm_param
    text = f"L2Norm({bottoms[0][1]}, {_text(p.eps)}, {p.across_spatial}, {p.channel_shared})"
    return Emitted(text, "", {"weight": blobs[0]}, ("weight",), ("L2Norm",))


# ------------------------------------------------------------------------------------------------- activations


@_emits("ReLU")
def _relu(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    slope = layer.param.relu_param.negative_slope
    return Emitted(_make("nn.LeakyReLU", slope) if slope else "nn.ReLU()")


@_emits("ReLU6")
def _relu6(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    slope = layer.param.relu_param.negative_slope
    return Emitted("", f"F.relu6({{0}}) + {_number(slope)} * {{0}}.clamp(max=0)") if slope else Emitted("nn.ReLU6()")


@_emits("ELU")
def _elu(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    p = layer.param.elu_param
    factor = getattr(p, "lambda")
    if factor != 1:
        alpha = _number(p.alpha)
        return Emitted("", f"{_number(factor)} * {{0}}.clamp(min=0) + {alpha} * torch.expm1({{0}}.clamp(max=0))")
    return Emitted(_make("nn.ELU", p.alpha))


@_emits("Sigmoid", "TanH", "BNLL", "AbsVal", "Softmax", "Dropout", "Silence", "Split")
def _plain(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    if layer.type == "Softmax":
        return Emitted(f"nn.Softmax(dim={module.axis})")
    if layer.type == "Dropout":
        if module.always:
            raise CannotEmit("it drops at inference too (sample_weights_test)")
        return Emitted(_make("nn.Dropout", module.ratio))
    if layer.type == "Split":
        return Emitted("", ", ".join(["{0}"] * len(tops)))
    return {
        "Sigmoid": Emitted("nn.Sigmoid()"),
        "TanH": Emitted("nn.Tanh()"),
        "BNLL": Emitted("nn.Softplus(threshold=50)"),
        "AbsVal": Emitted("", "{0}.abs()"),
        "Silence": Emitted(),
    }[layer.type]


@_emits("Swish", "Clip", "Threshold", "Power", "Exp", "Log")
def _formula(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    if layer.type == "Swish":
        return (
            Emitted("nn.SiLU()") if module.beta == 1 else Emitted("", f"{{0}} * torch.sigmoid({module.beta!r} * {{0}})")
        )
    if layer.type == "Clip":
        return Emitted("", f"{{0}}.clamp({_number(module.least)}, {_number(module.most)})")
    if layer.type == "Threshold":
        return Emitted("", f"({{0}} > {_number(layer.param.threshold_param.threshold)}).to({{0}}.dtype)")
    inner = "{0}" if module.scale == 1 else f"{{0}} * {_precise(module.scale)}"
    inner = f"{inner} + {_precise(module.shift)}" if module.shift else inner
    if layer.type == "Power":
        return Emitted("", inner if module.power == 1 else f"({inner}).pow({_number(module.power)})")
    if layer.type == "Exp":
        return Emitted("", f"torch.exp({inner})")
    return Emitted("", f"torch.log({inner})" + (f" * {module.factor!r}" if module.factor != 1 else ""))


def _precise(value: float) -> str:
    """The shortest text with the same 32-bit value."""
    short = _number(value)
    return short if np.float32(float(short)) == np.float32(value) else repr(value)


@_emits("LRN", "MVN")
def _local(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    if layer.type == "MVN":
        p = layer.param.mvn_param
        text = f"MeanVarianceNorm({p.across_channels}, {p.normalize_variance}, {_text(p.eps)})"
        return Emitted(text, helpers=("MeanVarianceNorm",))
    if module.across:
        return Emitted(
            _make("nn.LocalResponseNorm", module.size, alpha=(module.alpha, None), beta=(module.beta, None),
                  k=(module.k, None))
        )  # fmt: skip
    text = f"WithinChannelNorm({module.size}, {_text(module.alpha)}, {_text(module.beta)})"
    return Emitted(text, helpers=("WithinChannelNorm",))


# ------------------------------------------------------------------------------------------------------ planes


@_emits("Pooling")
def _pooling(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    average = module.method == pb.PoolingParameter.AVE
    if module.method == pb.PoolingParameter.STOCHASTIC:
        raise CannotEmit("STOCHASTIC pooling")
    if module.whole_plane and len(tops) == 1:
        return Emitted("", "{0}.mean((2, 3), keepdim=True)" if average else "{0}.amax((2, 3), keepdim=True)")
    window, sizes = module._window(bottoms[0]), bottoms[0][2:]
    settings = {"stride": (_square(window.stride), _square(window.kernel)), "padding": (_square(window.pad), 0)}
    if window.torch_agrees(sizes):
        rounds_up = tuple(tops[0][2:]) != _floor_sizes(window, sizes)
        indices = {"return_indices": (len(tops) == 2, False)}
        name = "nn.AvgPool2d" if average else "nn.MaxPool2d"
        return Emitted(_make(name, _square(window.kernel), **settings, ceil_mode=(rounds_up, False), **indices))
    if len(tops) == 2:
        raise CannotEmit("a mask of windows that hang off the edge")
    margins: list[int] = []
    for size, k, s, p, count in reversed(
        list(zip(sizes, window.kernel, window.stride, window.pad, tops[0][2:], strict=True))
    ):
        margins += [p, (count - 1) * s + k - size - p]
    if average:
        limits = tuple(size + p for size, p in zip(sizes, window.pad, strict=True))
        text = _make("RaggedAvgPool2d", window.kernel, window.stride, window.pad, tuple(margins), limits)
        return Emitted(text, helpers=("RaggedAvgPool2d",))
    pool = _make("nn.MaxPool2d", _square(window.kernel), stride=settings["stride"])
    lowest = float(torch.finfo(torch.float32).min)
    return Emitted(f"nn.Sequential(nn.ConstantPad2d({tuple(margins)}, {lowest!r}), {pool})")


def _floor_sizes(window: Any, sizes: Sequence[int]) -> Shape:
    return tuple(
        (size + 2 * p - k) // s + 1
        for size, k, s, p in zip(sizes, window.kernel, window.stride, window.pad, strict=True)
    )


@_emits("Upsample", "Interp", "DeephiResize", "Tiling")
def _resize(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    size = tuple(tops[0][2:])
    if layer.type == "Tiling":
        return Emitted(f"nn.PixelShuffle({module.side})")
    if layer.type == "Upsample":
        return Emitted(f"MaskedUnpool({size})", helpers=("MaskedUnpool",))
    if layer.type == "DeephiResize":
        if module.bilinear:
            return Emitted("", f'F.interpolate({{0}}, {size}, mode="bilinear", align_corners=False)')
        if size[0] % bottoms[0][2] or size[1] % bottoms[0][3]:
            raise CannotEmit("NEAREST by other than a whole factor")
        return Emitted("", f'F.interpolate({{0}}, {size}, mode="nearest")')
    p = layer.param.interp_param
    bottom = "{0}"
    if p.pad_beg or p.pad_end:
        ends = bottoms[0][2] + p.pad_end, bottoms[0][3] + p.pad_end
        bottom = f"{{0}}[:, :, {-p.pad_beg}:{ends[0]}, {-p.pad_beg}:{ends[1]}]"
    return Emitted("", f'F.interpolate({bottom}, {size}, mode="bilinear", align_corners=True)')


# ------------------------------------------------------------------------------------------- combining, shapes


@_emits("Eltwise")
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
    text = "" if module.coeffs[0] == 1 else f"{_number(module.coeffs[0])} * "
    text += names[0]
    for name, coeff in zip(names[1:], module.coeffs[1:], strict=True):
        factor = "" if abs(coeff) == 1 else f"{_number(abs(coeff))} * "
        text += f" {'-' if coeff < 0 else '+'} {factor}{name}"
    return Emitted("", text)


@_emits("Axpy")
def _axpy(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    shape = (*bottoms[1][:2], *(1,) * (len(bottoms[1]) - 2))
    return Emitted("", f"{{0}}.reshape({shape}) * {{1}} + {{2}}")


@_emits("ArgMax")
def _arg_max(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    if module.top_k != 1 or module.with_values or module.axis is None:
        raise CannotEmit("only top_k 1 along an axis")
    return Emitted("", f"arg_max({{0}}, {module.axis})", helpers=("arg_max",))


@_emits("Reduction")
def _reduction(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    axes = list(range(module.axis, len(bottoms[0])))
    text = {
        "MEAN": f"{{0}}.mean({axes})",
        "ASUM": f"{{0}}.abs().sum({axes})",
        "SUMSQ": f"{{0}}.square().sum({axes})",
        "SUM": f"{{0}}.sum({axes})",
    }[module.operation]
    return Emitted("", text if module.coeff == 1 else f"{text} * {_number(module.coeff)}")


@_emits("Concat", "Slice", "Flatten", "Reshape", "Permute", "Tile", "Crop", "Reorg", "GSTiling")
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


# --------------------------------------------------------------------------------------------------- detection


@_emits("PriorBox")
def _prior_box(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    boxes = module(*(torch.zeros(shape) for shape in bottoms)).numpy()
    return Emitted(f"self.register_buffer({{name!r}}, torch.zeros({boxes.shape}))", "{self}", {"": boxes})


@_emits("DetectionOutput")
def _detection(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    p = layer.param.detection_output_param
    if module.passes_map or len(bottoms) > 3:
        raise CannotEmit("a fourth bottom")
    text = _make(
        "DetectionOutput", classes=(module.classes, None), background=(p.background_label_id, None),
        shared_locations=(p.share_location, None), code=(module.code, None),
        variance_in_target=(p.variance_encoded_in_target, None), threshold=(float(module.threshold), None),
        top_k=(module.top_k, None), keep_top_k=(p.keep_top_k, None),
        nms_threshold=(p.nms_param.nms_threshold, None), eta=(p.nms_param.eta, None),
    )  # fmt: skip
    return Emitted(text, helpers=("DetectionOutput",))
