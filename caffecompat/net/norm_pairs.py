"""Batch normalization stored as two layers for a net that has one, and the other way round.

BVLC normalizes in a BatchNorm (3 blobs) and scales in the Scale after it; Xilinx, Jacinto and PSPNet do both in one
layer. The blobs of one layer are the affair of that layer (`Layer.adapt_blobs`); here are the cases with two names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from caffecompat.formats import LayerWeights
from caffecompat.layers import class_of
from caffecompat.layers.bn import BN
from caffecompat.layers.norm_blobs import Parts, statistics
from caffecompat.layers.normalization import BatchNorm
from caffecompat.layers.scale import Scale
from caffecompat.net.layer import NetLayer

__all__ = ["Pairs", "match_pairs"]


class _Wired(Protocol):
    """A layer of a net or of a file."""

    @property
    def type(self) -> str: ...
    @property
    def bottoms(self) -> list[str]: ...
    @property
    def tops(self) -> list[str]: ...


_L = TypeVar("_L", bound=_Wired)


@dataclass
class Pairs:
    """What to load instead of the blobs as stored.

    Attributes:
        blobs: by layer name of the net, instead of the file's blobs of that name.
        used: layers of the file whose blobs went into another layer.
        converted: what was joined or parted, one text each.
        problems: what cannot be, by layer name of the net.
    """

    blobs: dict[str, list[np.ndarray]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    converted: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def match_pairs(stored: Sequence[LayerWeights], net: Mapping[str, NetLayer]) -> Pairs:
    """Find the file's BatchNorm and Scale pairs that are one layer in the net, and its single ones that are two.

    A file with bottoms and tops shows which Scale belongs to a BatchNorm. HDF5 has names alone: there the names
    must be alike apart from "bn", "norm", "scale" and the like, and a doubt is a problem.

    Args:
        stored: layers of the file, in its order.
        net: layers of the net by name, in order.
    """
    pairs = Pairs()
    names = {layer.name for layer in stored if layer.blobs}
    order = list(net.values())
    for at, layer in enumerate(stored):
        target = net.get(layer.name)
        if target is None or not layer.blobs or None in layer.blobs:
            continue
        if _has_scale(target) and len(layer.blobs) == 3:
            scale = _scale_of(stored, at, net, pairs, target.name)
            if scale is not None:
                _join(layer, scale, target, pairs)
        elif isinstance(target.module, BatchNorm) and target.module.scale is None and len(layer.blobs) > 3:
            follower = _sole_reader(order, order.index(target))
            if follower is not None and _is_plain_scale(follower) and follower.name not in names:
                _part(layer, target, follower, pairs)
    return pairs


def _has_scale(layer: NetLayer) -> bool:
    return isinstance(layer.module, BN) or (isinstance(layer.module, BatchNorm) and layer.module.scale is not None)


def _channels(layer: NetLayer) -> int:
    return max(slot.shape[1] if len(slot.shape) == 4 else slot.shape[0] for slot in layer.slots)


def _layout(layer: NetLayer) -> str:
    return layer.module.layout if isinstance(layer.module, BatchNorm) else "pspnet"


def _arrays(layer: LayerWeights) -> list[np.ndarray]:
    return [blob.array() for blob in layer.blobs if blob is not None]


def _sole_reader(layers: Sequence[_L], at: int) -> _L | None:
    """The layer that reads the first top of `layers[at]`, if exactly one does before the blob is written again."""
    if not layers[at].tops:
        return None
    top = layers[at].tops[0]
    readers: list[_L] = []
    for layer in layers[at + 1 :]:
        if top in layer.bottoms:
            readers.append(layer)
        if top in layer.tops:
            break
    return readers[0] if len(readers) == 1 else None


def _is_plain_scale(layer: NetLayer) -> bool:
    return isinstance(layer.module, Scale) and len(layer.bottoms) == 1


def _scale_of(
    stored: Sequence[LayerWeights], at: int, net: Mapping[str, NetLayer], pairs: Pairs, target: str
) -> LayerWeights | None:
    """The stored Scale after the stored BatchNorm `at` that the net does not have; None where there is none."""
    if stored[at].tops:
        found = _sole_reader(stored, at)
        if found is None or class_of(found.type) is not Scale or len(found.bottoms) != 1 or _keeps_own(found, net):
            return None
        return found
    batch_norm = stored[at].blobs[0]
    count = batch_norm.count if batch_norm is not None else 0
    vectors = [
        layer
        for layer in stored
        if layer is not stored[at]
        and layer.name not in net
        and (not layer.type or class_of(layer.type) is Scale)
        and 1 <= len(layer.blobs) <= 2
        and all(blob is not None and blob.count == count for blob in layer.blobs)
    ]
    alike = [layer for layer in vectors if _stem(layer.name) == _stem(stored[at].name)]
    if len(alike) == 1:
        return alike[0]
    if vectors:
        pairs.problems[target] = (
            f"the file has a BatchNorm without scale and bias, and does not say which of its layers "
            f"{', '.join(repr(layer.name) for layer in vectors)} is the Scale after it; save it as a caffemodel, or "
            "give the net a Scale layer of that name"
        )
    return None


def _keeps_own(scale: LayerWeights, net: Mapping[str, NetLayer]) -> bool:
    """Whether the net has a layer of the Scale's own name to take its blobs."""
    return scale.name in net and bool(net[scale.name].slots)


def _stem(name: str) -> str:
    return re.sub(r"batch_?norm|norm|bn|scale|sc|[/_.-]", "", name.lower())


def _join(stored: LayerWeights, scale: LayerWeights, target: NetLayer, pairs: Pairs) -> None:
    """Make the blobs of one layer of a stored BatchNorm and the Scale after it."""
    channels = _channels(target)
    parts = statistics(_arrays(stored), _layout(target), channels)
    factors = _arrays(scale)
    if parts is None or not 1 <= len(factors) <= 2 or any(blob.size != channels for blob in factors):
        pairs.problems[target.name] = (
            f"the file's BatchNorm and its Scale {scale.name!r} ({', '.join(str(blob.shape) for blob in factors)}) "
            f"cannot become one layer of {channels} channels"
        )
        return
    parts["scale"] = factors[0].reshape(-1)
    if len(factors) == 2:
        parts["bias"] = factors[1].reshape(-1)
    pairs.blobs[target.name] = _as_stored_by(parts, _layout(target))
    pairs.used.add(scale.name)
    pairs.converted.append(f"layer {target.name!r}: the file's BatchNorm and Scale {scale.name!r} as one layer")


def _as_stored_by(parts: Parts, layout: str) -> list[np.ndarray]:
    """Five blobs that the layer can only read as its own kind, also where it has one channel."""
    one = np.ones(1, parts["mean"].dtype)
    if layout.startswith("nvcaffe"):
        return [parts["mean"], parts["variance"], one, parts["scale"], parts["bias"]]
    return [parts["scale"], parts["bias"], parts["mean"], parts["variance"], one]


def _part(stored: LayerWeights, target: NetLayer, scale: NetLayer, pairs: Pairs) -> None:
    """Make the blobs of a BatchNorm and of the Scale after it of one stored layer."""
    parts = statistics(_arrays(stored), _layout(target), _channels(target))
    if parts is None:
        return  # no normalization; the count of blobs will be found wrong
    blobs = [parts["scale"], parts["bias"]][: len(scale.slots)]
    if any(slot.shape != parts["scale"].shape for slot in scale.slots) or (len(blobs) == 1 and parts["bias"].any()):
        pairs.problems[target.name] = (
            f"the file's {stored.type or 'layer'} has a scale and bias, which the Scale {scale.name!r} after this "
            "layer cannot take; it needs one value a channel and bias_term: true"
        )
        return
    one = np.ones(1, parts["mean"].dtype)
    pairs.blobs[target.name] = [parts["mean"], parts["variance"], one]
    pairs.blobs[scale.name] = blobs
    pairs.converted.append(
        f"layers {target.name!r} and {scale.name!r}: the file's {stored.type or 'layer'} in two layers"
    )
