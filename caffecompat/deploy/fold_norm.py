"""Batch normalization and Scale folded into the convolution, deconvolution or inner product before them.

At inference each of these layers is y = a x + b with constants a and b a channel, so the layer before it can have a in
its weights and b in its bias. Arithmetic is in double precision; results are rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caffecompat.layers.bn import BN
from caffecompat.layers.normalization import BatchNorm
from caffecompat.layers.scale import Bias, Scale
from caffecompat.net.build import NetLayer
from caffecompat.net.graph import Value
from caffecompat.net.net import Net

__all__ = ["Folded", "channel_affine", "fold_norms", "use_running_statistics"]

_WEIGHTED = ("Convolution", "Deconvolution", "InnerProduct")
_NORMS = ("BatchNorm", "BN")

Affine = tuple[np.ndarray, np.ndarray]


@dataclass
class Folded:
    """A net without the layers that could be folded.

    Attributes:
        message: its NetParameter.
        blobs: parameter blobs by layer name, float32.
        folded: (layer, the layer that took it in), in net order.
        left: layers that stay though they normalise or scale, each with the reason.
    """

    message: Any
    blobs: dict[str, list[np.ndarray]]
    folded: list[tuple[str, str]] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)


def fold_norms(net: Net, *, running_statistics: bool = False) -> Folded:
    """Fold what can be folded of a TEST net whose weights are loaded; the net itself stays as it is.

    Blobs keep their names: the weighted layer's top takes the name that the folded layer's top had.

    Args:
        running_statistics: also fold a normalization whose prototxt asks for the batch's own statistics in TEST
            (`use_global_stats: false`), by its stored ones, and let the others use theirs; that changes the numbers.
    """
    message = type(net.message)()
    message.CopyFrom(net.message)
    folding = _Folding(net, net.blobs_by_layer(), list(message.layer), running_statistics)
    folding.run()
    gone = {name for name, _ in folding.result}
    kept = [layer for layer in message.layer if layer.name not in gone]
    del message.layer[:]
    message.layer.extend(kept)
    if running_statistics:
        use_running_statistics(message)
    return Folded(
        message,
        {name: blobs for name, blobs in folding.blobs.items() if name not in gone},
        folding.result,
        folding.left,
    )


def use_running_statistics(message: Any) -> bool:
    """Let every BatchNorm of a net use its stored statistics in TEST; returns whether one did not."""
    found = False
    for layer in message.layer:
        if layer.type == "BatchNorm" and layer.batch_norm_param.HasField("use_global_stats"):
            found |= not layer.batch_norm_param.use_global_stats
            layer.batch_norm_param.ClearField("use_global_stats")
    return found


class _Folding:
    def __init__(
        self, net: Net, blobs: dict[str, list[np.ndarray]], params: list[Any], running_statistics: bool
    ) -> None:
        self.net, self.blobs, self.params, self.running_statistics = net, blobs, params, running_statistics
        self.result: list[tuple[str, str]] = []
        self.left: list[tuple[str, str]] = []
        self.readers: dict[Value, list[int]] = {}
        for node in net.graph.nodes:
            for value in node.bottoms:
                if value is not None:
                    self.readers.setdefault(value, []).append(node.index)
        self.shared = _shared_layers(net)
        # The value that a folded chain ends in, and the weighted layer it begins with.
        self.ends: dict[Value, int] = {}

    def run(self) -> None:
        for node, layer in zip(self.net.graph.nodes, self.net.layers, strict=True):
            if layer.type in _WEIGHTED and len(node.tops) == 1:
                self.ends[node.tops[0]] = node.index
                continue
            if not isinstance(layer.module, BatchNorm | BN | Scale | Bias) or len(node.bottoms) != 1:
                continue
            reason = self._fold(layer)
            if reason:
                self.left.append((layer.name, reason))

    def _fold(self, layer: NetLayer) -> str:
        """Fold a layer into the one before it; returns why not, "" if done."""
        node = self.net.graph.nodes[layer.index]
        bottom = node.bottoms[0]
        assert bottom is not None
        affine = channel_affine(layer, self.blobs, self.net.value_shapes[bottom], self.running_statistics)
        if isinstance(affine, str):
            return affine
        start = self.ends.get(bottom)
        if start is None:
            maker = self.net.layers[bottom.node]
            return f"stands behind {maker.name!r} ({maker.type}), which has no weights to take it"
        target = self.net.layers[start]
        others = [self.net.layers[i].name for i in self.readers[bottom] if i != layer.index]
        if others:
            return f"{', '.join(map(repr, others))} also read(s) {bottom.blob!r}, what {target.name!r} makes"
        for name in (layer.name, target.name):
            if name in self.shared:
                return f"the parameters of {name!r} are shared with another layer"
        reason = _scale_weights(target, self.blobs, affine, self.params[start])
        if reason:
            return reason
        self.result.append((layer.name, target.name))
        self.ends[node.tops[0]] = start
        self.params[start].top[0] = node.tops[0].blob
        return ""


def _shared_layers(net: Net) -> set[str]:
    owners = {id(slot.owner) for layer in net.layers for slot in layer.slots if slot.owner is not None}
    return {layer.name for layer in net.layers for slot in layer.slots if slot.owner is not None or id(slot) in owners}


def channel_affine(
    layer: NetLayer,
    blobs: Mapping[str, list[np.ndarray]],
    shape: tuple[int, ...],
    running_statistics: bool = False,
) -> Affine | str:
    """a and b of y = a x + b, each (C) float64, of a BatchNorm, BN, Scale or Bias; or why it is none.

    Args:
        blobs: by layer name, in the layer's own arrangement.
        shape: of the bottom; the channels are axis 1.
    """
    own = [np.asarray(blob, np.float64).reshape(-1) for blob in blobs.get(layer.name, [])]
    module = layer.module
    if isinstance(module, BatchNorm):
        if module.uses_batch_statistics and not running_statistics:
            return "use_global_stats: false makes it normalise by the batch in TEST too"
        return _from_statistics(dict(zip(module.blob_names, own, strict=True)), module.layout == "bvlc", module.eps)
    if isinstance(module, BN):
        parts = dict(zip(module.blob_names, own, strict=True))
        if module.keeps_statistics:
            return _from_statistics(parts | {"bias": parts["shift"]}, False, module.eps)
        if not module.folded:
            return "ENet's BN in LEARN mode normalises by the batch and stores no statistics"
        return parts["scale"], parts["shift"]
    if module is None or module.axis != 1 or len(shape) < 2 or own[0].size != shape[1]:
        return "does not scale by one value a channel (axis 1)"
    if isinstance(module, Bias):
        return np.ones_like(own[0]), own[0]
    return own[0], own[1] if len(own) > 1 else np.zeros_like(own[0])


def _from_statistics(parts: dict[str, np.ndarray], is_sum: bool, eps: float) -> Affine:
    mean, variance = parts["mean"], parts["variance"]
    if is_sum:
        factor = parts["factor"][0]
        mean, variance = (mean / factor, variance / factor) if factor else (mean * 0, variance * 0)
    a = parts.get("scale", np.ones_like(mean)) / np.sqrt(variance + eps)
    return a, parts.get("bias", np.zeros_like(mean)) - mean * a


def _scale_weights(layer: NetLayer, blobs: dict[str, list[np.ndarray]], affine: Affine, param: Any) -> str:
    """Put a and b into a layer's blobs and its parameters; returns why not."""
    a, b = affine
    weight, *rest = blobs[layer.name]
    module: Any = layer.module
    if module.axis != 1:
        return f"the outputs of {layer.name!r} are not on axis 1"
    if layer.type == "InnerProduct":
        settings, outputs = param.inner_product_param, param.inner_product_param.num_output
        if len(a) != outputs:
            return f"{layer.name!r} has {outputs} outputs, this layer {len(a)} channels"
        scaled = weight * (a if module.transpose else a[:, None])
    else:
        settings = param.convolution_param
        spatial = (1,) * (weight.ndim - 2)
        if layer.type == "Convolution":
            scaled = weight * a.reshape(-1, 1, *spatial)
        else:
            # (C_in, C_out / group, k...): input channels of group g make the outputs of group g.
            groups, inside = module.group, weight.shape[1]
            each = np.repeat(a.reshape(groups, inside), weight.shape[0] // groups, axis=0)
            scaled = weight * each.reshape(*each.shape, *spatial)
    bias = b + (a * rest[0].astype(np.float64) if rest else 0)
    if not rest and not b.any():
        blobs[layer.name] = [scaled.astype(np.float32)]
        return ""
    settings.ClearField("bias_term")
    blobs[layer.name] = [scaled.astype(np.float32), bias.astype(np.float32)]
    return ""
