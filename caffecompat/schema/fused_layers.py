"""Layers that Intel's Caffe fuses into one, taken apart into BVLC's: one reading for all that comes after.

- ``convolution_param { relu: true negative_slope: S }`` and ``batch_norm_param { relu: true }``: a ReLU in place.
- ``convolution_param { fusion_type: SUM_FUSION }`` with a second bottom: an Eltwise sum with it, then the ReLU.
- ``bn_stats_batch_size`` of the net: ``stats_batch_size`` of every BatchNorm that has none of its own.
- A BatchNorm that one of Intel's engines computes (``engine: MKLDNN`` of the block, the layer or the net) has a scale
  and a bias unless a Scale layer follows, which Intel's Caffe would merge into it: ``use_weight_bias: true``.

The order (convolution, sum, ReLU) is that of intel/caffe's mkldnn_convolution_layer.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat import glog
from caffecompat.schema import pb
from caffecompat.schema.problems import Problem, PrototxtError, SourceLocations

__all__ = ["fused_fields", "split_fused_layers"]

Origin = tuple[str, int]

_OF_CONVOLUTION = ("relu", "negative_slope", "fusion_type", "coeff")


def fused_fields(net: pb.NetParameter) -> list[str]:
    """Names of the fields, each once, by which layers of today's form do what BVLC's have other layers for."""
    found: dict[str, None] = {}
    scaled = _scaled_blobs(net)
    for layer in net.layer:
        found.update(dict.fromkeys(_fused(layer)))
        if net.bn_stats_batch_size and _lacks_stats_size(layer):
            found["bn_stats_batch_size"] = None
        if _scales_by_engine(layer, net, scaled):
            found["engine of BatchNorm"] = None
    return list(found)


def _scaled_blobs(net: pb.NetParameter) -> set[str]:
    """Blobs that a Scale layer multiplies by a learned scale."""
    return {layer.bottom[0] for layer in net.layer if layer.type == "Scale" and len(layer.bottom) == 1}


def _scales_by_engine(layer: pb.LayerParameter, net: pb.NetParameter, scaled: set[str]) -> bool:
    """Whether a BatchNorm has a scale and a bias because one of Intel's engines computes it."""
    p = layer.batch_norm_param
    if layer.type != "BatchNorm" or p.HasField("use_weight_bias"):
        return False
    named = pb.BatchNormParameter.Engine.Name(p.engine) if p.engine != p.DEFAULT else layer.engine or net.engine
    return "MKL" in named and scaled.isdisjoint(layer.top)


def _fused(layer: pb.LayerParameter) -> list[str]:
    if layer.type == "BatchNorm":
        return ["relu"] if layer.batch_norm_param.relu else []
    return [name for name in _OF_CONVOLUTION if getattr(layer.convolution_param, name)]


def _lacks_stats_size(layer: pb.LayerParameter) -> bool:
    return layer.type == "BatchNorm" and not layer.batch_norm_param.HasField("stats_batch_size")


def split_fused_layers(net: pb.NetParameter, locations: SourceLocations, origins: Sequence[Origin]) -> list[Origin]:
    """Take fused layers apart, in place.

    Args:
        origins: for each layer, the field of the file's message and the index in it that it was made from.

    Returns:
        the same of the layers that there are now.

    Raises:
        PrototxtError: a sum cannot be written as layers; every such layer is listed.
    """
    blobs = {top for layer in net.layer for top in layer.top}
    names = {layer.name for layer in net.layer}
    scaled = _scaled_blobs(net)
    made: list[tuple[pb.LayerParameter, Origin]] = []
    problems: list[Problem] = []
    for layer, origin in zip(net.layer, origins, strict=True):
        if net.bn_stats_batch_size and _lacks_stats_size(layer):
            layer.batch_norm_param.stats_batch_size = net.bn_stats_batch_size
        if _scales_by_engine(layer, net, scaled):
            layer.batch_norm_param.use_weight_bias = True
        problem = _problem(layer)
        if problem:
            field, text = problem
            text = f"layer {layer.name!r} ({layer.type}): {text}"
            problems.append(locations.problem_inside(*origin, field, text))
            continue
        _warn_of_slope(layer, locations, origin)
        made += [(part, origin) for part in _parts(layer, names, blobs)]
    if problems:
        raise PrototxtError(problems)
    copies = [type(layer).FromString(layer.SerializeToString()) for layer, _ in made]
    del net.layer[:]
    net.layer.extend(copies)
    net.ClearField("bn_stats_batch_size")
    return [origin for _, origin in made]


def _problem(layer: pb.LayerParameter) -> tuple[str, str] | None:
    """The field that cannot be obeyed, and why."""
    fused = _fused(layer)
    if layer.type == "BatchNorm" or not fused:
        return None
    if layer.type != "Convolution":
        return fused[0], f"{fused[0]} has an effect in Convolution only; write a layer of its own for it"
    p, bottoms = layer.convolution_param, len(layer.bottom)
    if any(value != 1 for value in p.coeff):
        return "coeff", "only Intel's int8 uses coeff of a fused sum; write the sum as an Eltwise layer with coeff"
    if p.fusion_type == p.SUM_FUSION and bottoms > 1 and (bottoms, len(layer.top)) != (2, 1):
        return "fusion_type", f"SUM_FUSION makes one top of two bottoms, not {len(layer.top)} of {bottoms}"
    return None


def _warn_of_slope(layer: pb.LayerParameter, locations: SourceLocations, origin: Origin) -> None:
    if layer.type == "Convolution" and layer.convolution_param.negative_slope and not layer.convolution_param.relu:
        text = f"layer {layer.name!r} ({layer.type}): negative_slope has no effect without relu: true"
        glog.warning(str(locations.problem_inside(*origin, "negative_slope", text)))


def _parts(layer: pb.LayerParameter, names: set[str], blobs: set[str]) -> list[pb.LayerParameter]:
    """The layer without what is fused into it, and the layers that do that; the net's names grow by theirs."""
    if not _fused(layer):
        return [layer]
    parts, top = [layer], layer.top[0]
    if layer.type == "Convolution":
        p = layer.convolution_param
        relu, slope = p.relu, p.negative_slope
        if p.fusion_type == p.SUM_FUSION and len(layer.bottom) > 1:
            other = layer.bottom.pop()
            layer.top[0] = _unused(f"{layer.name}_conv", blobs)
            name = _unused(f"{layer.name}_sum", names)
            parts.append(_next_layer(layer, "Eltwise", name, [layer.top[0], other], top))
        for field in _OF_CONVOLUTION:
            p.ClearField(field)
    else:
        relu, slope = layer.batch_norm_param.relu, 0.0
        layer.batch_norm_param.ClearField("relu")
    if relu:
        activation = _next_layer(layer, "ReLU", _unused(f"{layer.name}_relu", names), [top], top)
        if slope:
            activation.relu_param.negative_slope = slope
        parts.append(activation)
    return parts


def _next_layer(layer: pb.LayerParameter, kind: str, name: str, bottoms: Sequence[str], top: str) -> pb.LayerParameter:
    """A layer that is in the net where and when `layer` is."""
    made = pb.LayerParameter(name=name, type=kind, bottom=bottoms, top=[top])
    made.include.extend(layer.include)
    made.exclude.extend(layer.exclude)
    if layer.HasField("phase"):
        made.phase = layer.phase
    return made


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
