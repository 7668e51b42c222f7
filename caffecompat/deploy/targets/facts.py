"""What the limits of inference hardware are asked about: facts of each layer of a net made for deployment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from caffecompat.layers import Layer, class_of
from caffecompat.layers.proposal import PythonProposal
from caffecompat.layers.resampling import DeephiResize, Interp
from caffecompat.layers.spatial_dropout import SpatialDropout
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer, Value
from caffecompat.schema import pb

__all__ = ["layer_facts"]

Facts = dict[str, Any]
Shape = tuple[int, ...]


def layer_facts(net: Net, trains: bool) -> list[Facts]:
    """Facts of each layer, in order.

    Args:
        trains: whether the prototxt is one that trains, so that it shows which weights learn; a fact of every layer.

    Of all: ``type``, ``name``, ``inputs`` (how many bottoms), ``batch``, ``rank``, ``in_channels``, ``in_h``, ``in_w``,
    ``out_channels``, ``out_h``, ``out_w`` (0 where there is no such axis), ``out_rank``, ``behind`` (type of the layer
    that makes the first bottom), ``fused_behind`` (the same, seen through BatchNorm, Scale and Bias), ``sole_reader``
    (nothing else reads the first bottom), ``convolved`` (form of the convolution that the first bottom comes out of,
    what is folded into it seen through: "dense", "depthwise", "grouped"; "" for none), ``parts`` (those forms, where a
    Concat joins the bottom of convolutions alone, and nothing else reads any of it), ``in_detection_head``, ``readers``
    (types of the layers that read the tops) and ``same_shapes`` (all bottoms have one shape). More by type; see the
    functions below.
    """
    readers: dict[Value, list[int]] = {}
    for layer in net.layers:
        for value in layer.bottom_values:
            if value is not None:
                readers.setdefault(value, []).append(layer.index)
    head = _detection_head(net, readers)
    found: list[Facts] = []
    for layer in net.layers:
        bottoms = layer.known_bottoms
        shapes = [net.value_shapes[value] for value in bottoms]
        tops = [net.value_shapes[value] for value in layer.top_values]
        maker = found[bottoms[0].maker] if bottoms else None
        facts: Facts = {
            "trains": trains,
            "type": layer.type,
            "name": layer.name,
            "inputs": len(bottoms),
            **_sizes("in", shapes[0] if shapes else ()),
            **_sizes("out", tops[0] if tops else ()),
            "batch": (shapes or tops or [(1,)])[0][0] if (shapes or tops or [(1,)])[0] else 1,
            "rank": len(shapes[0]) if shapes else 0,
            "out_rank": len(tops[0]) if tops else 0,
            "same_shapes": len(set(shapes)) <= 1,
            "behind": maker["type"] if maker else "",
            "fused_behind": "" if maker is None else maker["fused_behind"] if _merges(maker) else maker["type"],
            "sole_reader": bool(bottoms) and len(readers[bottoms[0]]) == 1,
            "convolved": _form(maker) if maker else "",
            "parts": [],
            "readers": sorted({net.layers[r].type for value in layer.top_values for r in readers.get(value, [])}),
            "in_detection_head": layer.index in head,
        }
        more = _MORE.get(layer.type)
        if more is not None and layer.module is not None:
            facts.update(more(layer, layer.module, shapes, tops))
        if facts["behind"] == "Concat" and facts["sole_reader"]:
            facts["parts"] = _parts(net.layers[bottoms[0].maker], found, readers)
        found.append(facts)
    return found


def _form(maker: Facts) -> str:
    """The form of the convolution that a layer is for hardware; "" where it is none.

    A normalization is folded into the convolution before it, or becomes a depthwise one.
    """
    if class_of(maker["type"]).weighted:
        return "depthwise" if maker.get("depthwise") else "grouped" if maker.get("group", 1) > 1 else "dense"
    if not class_of(maker["type"]).channel_affine or maker["inputs"] != 1:
        return ""
    return str(maker["convolved"]) if _merges(maker) and maker["sole_reader"] else "depthwise"


def _parts(join: NetLayer, found: Sequence[Facts], readers: Mapping[Value, list[int]]) -> list[str]:
    """The forms of the convolutions whose outputs a Concat joins along the channels; [] where it joins other things."""
    makers = [found[value.maker] for value in join.known_bottoms]
    forms = {_form(maker) for maker in makers}
    read_once = all(value is not None and len(readers[value]) == 1 for value in join.bottom_values)
    return sorted(forms) if found[join.index]["axis"] == 1 and read_once and forms <= {"dense", "depthwise"} else []


def _merges(maker: Facts) -> bool:
    """Whether a layer disappears into the one before it, so that what follows is fused with that one."""
    return class_of(maker["type"]).channel_affine and class_of(maker["fused_behind"]).weighted


def _sizes(prefix: str, shape: Shape) -> Facts:
    padded = [*shape[1:4], 0, 0, 0]
    return {f"{prefix}_channels": padded[0], f"{prefix}_h": padded[1], f"{prefix}_w": padded[2]}


def _detection_head(net: Net, readers: dict[Value, list[int]]) -> set[int]:
    """The layers after the convolutions that predict boxes to the one that decodes them."""
    head = {layer.index for layer in net.layers if class_of(layer.type).decodes_priors}
    for layer in reversed(net.layers):
        after = [reader for value in layer.top_values for reader in readers.get(value, [])]
        if class_of(layer.type).detection_head and after and all(reader in head for reader in after):
            head.add(layer.index)
    return head


# ------------------------------------------------------------------------------------------------ by type

_More = Callable[[NetLayer, Any, Sequence[Shape], Sequence[Shape]], Facts]


def _pair(values: Sequence[int]) -> tuple[int, int]:
    """(h, w) of a window with one axis, or two."""
    return (int(values[0]), int(values[1])) if len(values) > 1 else (1, int(values[0]))


def _convolution(layer: NetLayer, module: Any, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``kernel_h``, ``kernel_w``, ``stride_*``, ``pad_*``, ``dilation_*``, ``group``, ``bias``, ``depthwise``.

    For Deconvolution also ``bilinear``: the filler makes it a bilinear enlargement by the whole number ``factor``,
    ``border``: how many of its values a side depend on what lies outside, and ``frozen``: its weights do not learn.
    """
    facts: Facts = {"axes": len(module.kernel), "group": module.group, "bias": module.bias is not None}
    for name, values in (
        ("kernel", module.kernel), ("stride", module.stride), ("pad", module.pad), ("dilation", module.dilation),
    ):  # fmt: skip
        facts[f"{name}_h"], facts[f"{name}_w"] = _pair(values)
    channels = shapes[0][module.axis]
    facts["depthwise"] = module.group > 1 and module.group == channels
    factor = facts["stride_h"]
    param = layer.param.convolution_param
    window = [(2 * factor - factor % 2, factor, math.ceil((factor - 1) / 2))] * 2
    facts["factor"], facts["border"] = factor, factor // 2
    facts["bilinear"] = (
        param.weight_filler.type == "bilinear"
        and facts["depthwise"]
        and param.num_output == channels
        and [_pair_of(facts, axis) for axis in "hw"] == window
    )
    facts["frozen"] = bool(layer.param.param) and layer.param.param[0].lr_mult == 0
    return facts


def _pair_of(facts: Facts, axis: str) -> tuple[int, int, int]:
    return facts[f"kernel_{axis}"], facts[f"stride_{axis}"], facts[f"pad_{axis}"]


def _pooling(layer: NetLayer, module: Any, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``method`` (MAX, AVE, STOCHASTIC), ``kernel_*``, ``stride_*``, ``pad_*``, ``whole_plane``, ``mask`` (two tops).

    ``past_h`` and ``past_w``: how far the last window reaches past the picture and its pad, where counts of windows
    are rounded up; ``pad_end_h`` and ``pad_end_w``: pad below and to the right with this added.
    """
    window = module.window
    facts: Facts = {
        "method": pb.PoolingParameter.PoolMethod.Name(layer.param.pooling_param.pool),
        "whole_plane": module.whole_plane,
        "mask": len(tops) > 1,
    }
    for at, axis in enumerate("hw"):
        size = shapes[0][2 + at]
        kernel = size if module.whole_plane else window.kernel[at]
        stride, pad = (1, 0) if module.whole_plane else (window.stride[at], window.pad[at])
        past = max(0, (tops[0][2 + at] - 1) * stride + kernel - size - 2 * pad)
        facts.update(
            {f"kernel_{axis}": kernel, f"stride_{axis}": stride, f"pad_{axis}": pad, f"past_{axis}": past,
             f"pad_end_{axis}": pad + past}
        )  # fmt: skip
    return facts


def _eltwise(layer: NetLayer, module: Layer, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``operation`` (PROD, SUM, MAX) and ``plain``: no coefficient other than 1."""
    param = layer.param.eltwise_param
    return {
        "operation": pb.EltwiseParameter.EltwiseOp.Name(param.operation),
        "plain": all(coefficient == 1 for coefficient in param.coeff),
    }


def _affine(layer: NetLayer, module: Any, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``channelwise``: one value a channel (axis 1); ``by_batch``: the statistics are each batch's own, in TEST too."""
    blobs = [getattr(module, name, None) for name in ("scale", "bias", "mean")]
    sizes = {blob.numel() for blob in blobs if blob is not None}
    plain = getattr(module, "axis", 1) == 1 and sizes == {shapes[0][1] if len(shapes[0]) > 1 else 1}
    return {"channelwise": plain, "by_batch": bool(getattr(module, "uses_batch_statistics", False))}


def _power(layer: NetLayer, module: Layer, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``power``, ``scale``, ``shift``."""
    param = layer.param.power_param
    return {"power": param.power, "scale": param.scale, "shift": param.shift}


def _dropout(layer: NetLayer, module: Any, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``factor`` of the values in TEST, 1 but for R-CNN's Caffe."""
    return {"factor": module.factor}


def _python(layer: NetLayer, module: Any, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``translated``, ``proposes``: it is one that is known here, so that it has a form in other files."""
    translated = isinstance(module.own, SpatialDropout) and not module.own.drops
    return {"translated": translated, "proposes": isinstance(module.own, PythonProposal)}


def _relu(layer: NetLayer, module: Any, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``slope`` below 0."""
    return {"slope": float(module.slope)}


def _elu(layer: NetLayer, module: Any, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``scale`` above 0, 1 but for Jacinto's lambda."""
    return {"scale": float(module.scale)}


def _clip(layer: NetLayer, module: Any, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``least`` and ``most``."""
    return {"least": float(module.least), "most": float(module.most)}


def _hard_sigmoid(layer: NetLayer, module: Any, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``plain``: it is min(max(x + 3, 0), 6) / 6."""
    return {"plain": math.isclose(module.alpha, 1 / 6, rel_tol=1e-5) and module.beta == 0.5}


def _axis(parameter: str) -> _More:
    """``axis``, counted from the front."""

    def facts(layer: NetLayer, module: Layer, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
        param = getattr(layer.param, parameter)
        old = next((name for name in ("concat_dim", "slice_dim") if name in param.DESCRIPTOR.fields_by_name), "")
        axis = getattr(param, old) if old and param.HasField(old) else param.axis
        return {"axis": axis % len(shapes[0])}

    return facts


def _argmax(layer: NetLayer, module: Layer, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``axis`` (-1 where there is none), ``top_k``, ``values``: it also gives what it found."""
    param = layer.param.argmax_param
    axis = param.axis % len(shapes[0]) if param.HasField("axis") else -1
    return {"axis": axis, "top_k": param.top_k, "values": param.out_max_val}


def _resize(layer: NetLayer, module: Layer, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``linear`` (else nearest), ``scale_h``, ``scale_w``; ``by_mask``: an Upsample that undoes a pooling."""
    linear = isinstance(module, Interp) or (isinstance(module, DeephiResize) and module.bilinear)
    scales = {"scale_h": tops[0][2] / shapes[0][2], "scale_w": tops[0][3] / shapes[0][3]}
    return {"linear": linear, "by_mask": len(shapes) > 1 and not linear, **scales}


def _reorder(layer: NetLayer, module: Layer, shapes: Sequence[Shape], tops: Sequence[Shape]) -> Facts:
    """``plane``: height times width of the bottom."""
    return {"plane": math.prod(shapes[0][2:])}


_MORE: dict[str, _More] = {
    "ArgMax": _argmax,
    "BN": _affine,
    "BatchNorm": _affine,
    "Bias": _affine,
    "Clip": _clip,
    "Concat": _axis("concat_param"),
    "Convolution": _convolution,
    "Deconvolution": _convolution,
    "DeephiResize": _resize,
    "Dropout": _dropout,
    "ELU": _elu,
    "Eltwise": _eltwise,
    "Flatten": _reorder,
    "HardSigmoid": _hard_sigmoid,
    "Interp": _resize,
    "Pooling": _pooling,
    "Power": _power,
    "Python": _python,
    "ReLU": _relu,
    "ReLU6": _relu,
    "Reshape": _reorder,
    "Scale": _affine,
    "Slice": _axis("slice_param"),
    "Softmax": _axis("softmax_param"),
    "Upsample": _resize,
}
