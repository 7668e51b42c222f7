"""The positions of a calibrated net's blobs, brought into the limits of the DPU's shifts: `fix_info` of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from caffecompat.layers.fixed_point import find_position
from caffecompat.quantize.settings import QuantizeError
from caffecompat.schema import pb

__all__ = ["FixInfo", "Position", "fix_info", "parameter_positions"]

_SHIFTED = ("Convolution", "Deconvolution", "InnerProduct")
_PASSING = ("ReLU", "ReLU6", "Permute", "Reshape", "Flatten", "Concat", "Split")
_LARGEST_SHIFT = 16  # of the sums to the output, and of the bias to the sums


class Position(NamedTuple):
    """`bits` signed bits at steps of 2^-position."""

    bits: int
    position: int


@dataclass
class FixInfo:
    """What the DPU's compiler gets to know.

    Attributes:
        layers: name -> (bits, position) pairs: bottoms and tops; of convolutions, deconvolutions, inner products and
            Scale bottom, top, weight, bias; of PReLU and Normalize bottom, top, weight.
        blobs: the positions of the blobs by name, adjusted.
        lines: what was adjusted, a line each.
    """

    layers: dict[str, list[Position]] = field(default_factory=dict)
    blobs: dict[str, Position] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def parameter_positions(layer: pb.LayerParameter, blobs: Sequence[np.ndarray]) -> list[Position]:
    """Where the search puts each parameter blob of a ``*Fixed`` layer."""
    param = layer.fixed_param
    return [
        Position(param.bit_width, find_position(torch.from_numpy(np.ascontiguousarray(blob)), param.bit_width, method))
        for blob in blobs
        for method in (param.fixed_method,)
    ]


def fix_info(layers: Sequence[pb.LayerParameter], blobs: Mapping[str, Sequence[np.ndarray]]) -> FixInfo:
    """Positions of a net in its TRAIN phase, with its neurons.

    Args:
        layers: in order. `blobs`: of the layers that have any; a FixedNeuron's is its position.

    Raises:
        QuantizeError: a layer in fixed point has a bottom or a top without a position.
    """
    info = FixInfo()
    for layer in layers:
        if layer.type == "FixedNeuron" and layer.top[0] not in info.blobs:
            position = int(np.floor(np.asarray(blobs[layer.name][0]).reshape(-1)[0]))
            info.blobs[layer.top[0]] = Position(layer.fixed_param.bit_width, position)
    _spread(layers, info.blobs)
    own: dict[str, list[Position]] = {}
    for at, layer in enumerate(layers):
        kind = layer.type.removesuffix("Fixed")
        if kind == layer.type:
            continue
        own[layer.name] = parameter_positions(layer, blobs.get(layer.name, ()))
        if kind in _SHIFTED:
            _adjust(info, layer, own[layer.name], layers[:at])
    for layer in layers:
        pairs = [info.blobs[blob] for blob in (*layer.bottom, *layer.top) if blob in info.blobs]
        kind = layer.type.removesuffix("Fixed")
        if layer.name in own:
            weight, *bias = own[layer.name] or [Position(layer.fixed_param.bit_width, 0)]
            pairs.append(weight)
            if kind in (*_SHIFTED, "Scale"):
                pairs.append(bias[0] if bias else Position(weight.bits, 0))
        info.layers[layer.name] = pairs
    return info


def _spread(layers: Sequence[pb.LayerParameter], found: dict[str, Position]) -> None:
    """Give blobs without a neuron the position of what they are copies or parts of, until nothing changes."""
    passing = [layer for layer in layers if _passes(layer)]
    before = -1
    while before != len(found):
        before = len(found)
        for layer in passing:
            if len(layer.bottom) == 1 and layer.bottom[0] in found:
                for blob in layer.top:
                    found.setdefault(blob, found[layer.bottom[0]])
            if len(layer.top) == 1 and layer.top[0] in found:
                for blob in layer.bottom:
                    found.setdefault(blob, found[layer.top[0]])


def _passes(layer: pb.LayerParameter) -> bool:
    is_max = layer.type == "Pooling" and layer.pooling_param.pool == pb.PoolingParameter.MAX
    return layer.type in _PASSING or is_max


def _adjust(info: FixInfo, layer: pb.LayerParameter, own: list[Position], before: Sequence[pb.LayerParameter]) -> None:
    """Move a layer's positions so that its shifts are from 0 to 16, and that of its bias not below what fits.

    Coarser outputs make room where sums would have to be shifted left; finer weights are taken back.
    """
    missing = [blob for blob in (layer.bottom[0], layer.top[0]) if blob not in info.blobs]
    if missing:
        makers = [other for other in before if missing[0] in other.top]
        maker = f"layer {makers[-1].name!r} ({makers[-1].type})" if makers else "the input"
        why = (
            f"no neuron follows {maker}, which makes it"
            if missing[0] in layer.bottom
            else "a layer after it is ignored"
        )
        raise QuantizeError(
            f"layer {layer.name!r} computes in fixed point, but its blob {missing[0]!r} has no position, as {why}; "
            "ignore this layer, too, or none of them"
        )
    source, target = info.blobs[layer.bottom[0]], info.blobs[layer.top[0]]
    weight = own[0]
    cut = weight.position + source.position - target.position
    if cut < 0:
        _move(info, layer, "output", target.position, target.position + cut)
        target = info.blobs[layer.top[0]] = target._replace(position=target.position + cut)
    elif cut > _LARGEST_SHIFT:
        _move(info, layer, "weight", weight.position, weight.position - (cut - _LARGEST_SHIFT))
        weight = own[0] = weight._replace(position=weight.position - (cut - _LARGEST_SHIFT))
    bias = own[1] if len(own) > 1 else Position(weight.bits, 0)
    shift, least = weight.position + source.position - bias.position, min(0, cut - _LARGEST_SHIFT)
    if shift < least:
        moved = bias.position + shift - least
        if len(own) > 1:
            _move(info, layer, "bias", bias.position, moved)
            own[1] = bias._replace(position=moved)
    elif shift > _LARGEST_SHIFT:
        moved = weight.position - (shift - _LARGEST_SHIFT)
        _move(info, layer, "weight", weight.position, moved)
        own[0] = weight._replace(position=moved)


def _move(info: FixInfo, layer: pb.LayerParameter, what: str, before: int, after: int) -> None:
    info.lines.append(f"{layer.name}: the position of its {what} moves from {before} to {after}, as shifts are limited")
