"""Emitters of layers with weights, of normalizations, and of detection heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from caffecompat.deploy.torch_emission import CannotEmit, Emitted, Shape, emits, make, square, text_of
from caffecompat.net.build import NetLayer


@emits("Convolution", "Deconvolution", "ConvolutionDepthwise", "DepthwiseConvolution")
def _windowed(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    if module.axis != 1:
        raise CannotEmit("its channels are not on axis 1")
    reverse = layer.type == "Deconvolution"
    axes = len(module.kernel)
    module_text = make(
        f"nn.Conv{'Transpose' if reverse else ''}{axes}d", bottoms[0][1], tops[0][1], square(module.kernel),
        stride=(square(module.stride), 1), padding=(square(module.pad), 0),
        dilation=(square(module.dilation), 1), groups=(module.group, 1), bias=(len(blobs) > 1, True),
    )  # fmt: skip
    names = ("weight", "bias")[: len(blobs)]
    call = "" if len(bottoms) == 1 else ", ".join(f"{{self}}({{{i}}})" for i in range(len(bottoms)))
    return Emitted(module_text, call, dict(zip(names, blobs, strict=True)), names)


@emits("InnerProduct")
def _inner_product(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    weight = blobs[0].T if module.transpose else blobs[0]
    outputs, inputs = weight.shape
    axis = module.axis
    bottom = "{0}" if len(bottoms[0]) == axis + 1 else f"{{0}}.flatten({axis})"
    state = dict(zip(("weight", "bias"), [np.ascontiguousarray(weight), *blobs[1:]], strict=False))
    return Emitted(
        make("nn.Linear", inputs, outputs, bias=(len(blobs) > 1, True)),
        f"{{self}}({bottom})",
        state,
        () if module.transpose else tuple(state),
    )


@emits("Embed")
def _embed(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    if len(blobs) > 1 and blobs[1].any():
        raise CannotEmit("nn.Embedding has no bias")
    return Emitted(make("nn.Embedding", *blobs[0].shape), "{self}({0}.long())", {"weight": blobs[0]}, ("weight",))


def _norm(channels: int, axes: int, parts: dict[str, np.ndarray], eps: float) -> Emitted:
    affine = "weight" in parts
    state = {name: values.reshape(-1) for name, values in parts.items()}
    state["num_batches_tracked"] = np.zeros((), np.int64)
    kind = {2: "1d", 3: "1d", 4: "2d", 5: "3d"}.get(axes)
    if kind is None:
        raise CannotEmit(f"torch normalises no blobs of {axes} axes")
    return Emitted(make(f"nn.BatchNorm{kind}", channels, eps=(eps, 1e-5), affine=(affine, True)), state=state)


@emits("BatchNorm")
def _batch_norm(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    parts = dict(zip(module.blob_names, blobs, strict=True))
    affine = {"weight": parts["scale"], "bias": parts["bias"]} if "scale" in parts else {}
    if module.uses_batch_statistics:
        text = make("BatchStatisticsNorm", module.channels, float(module.eps), affine=(bool(affine), True))
        return Emitted(text, "", affine, helpers=("BatchStatisticsNorm",))
    mean, variance = parts["mean"], parts["variance"]
    if module.layout == "bvlc":
        factor = np.float32(1 / parts["factor"][0] if parts["factor"][0] else 0)
        mean, variance = mean * factor, variance * factor
    return _norm(
        module.channels, len(bottoms[0]), affine | {"running_mean": mean, "running_var": variance}, float(module.eps)
    )


@emits("BN")
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
    text = make("ChannelAffine", shape, weight=("weight" in parts, True), bias=("bias" in parts, True))
    return Emitted(
        text, "", {name: values.reshape(shape) for name, values in parts.items()}, helpers=("ChannelAffine",)
    )


@emits("Scale", "Bias")
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


@emits("PReLU")
def _prelu(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    return Emitted(make("nn.PReLU", blobs[0].size), state={"weight": blobs[0].reshape(-1)})


@emits("Normalize")
def _normalize(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    p = layer.param.norm_param
    text = f"L2Norm({bottoms[0][1]}, {text_of(p.eps)}, {p.across_spatial}, {p.channel_shared})"
    return Emitted(text, "", {"weight": blobs[0]}, ("weight",), ("L2Norm",))


@emits("PriorBox")
def _prior_box(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    boxes = module(*(torch.zeros(shape) for shape in bottoms)).numpy()
    return Emitted(f"self.register_buffer({{name!r}}, torch.zeros({boxes.shape}))", "{self}", {"": boxes})


@emits("DetectionOutput")
def _detection(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], _: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    p = layer.param.detection_output_param
    if module.passes_map or len(bottoms) > 3:
        raise CannotEmit("a fourth bottom")
    text = make(
        "DetectionOutput", classes=(module.classes, None), background=(p.background_label_id, None),
        shared_locations=(p.share_location, None), code=(module.code, None),
        variance_in_target=(p.variance_encoded_in_target, None), threshold=(float(module.threshold), None),
        top_k=(module.top_k, None), keep_top_k=(p.keep_top_k, None),
        nms_threshold=(p.nms_param.nms_threshold, None), eta=(p.nms_param.eta, None),
    )  # fmt: skip
    return Emitted(text, helpers=("DetectionOutput",))
