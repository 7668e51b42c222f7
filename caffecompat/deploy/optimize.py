"""Batch normalization merged into the convolution before it, as TI's `caffe optimize` does before quantization.

The layers stay in the net, with parameters that change nothing: the prototxt goes on fitting the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.layers.norm_blobs import LAYOUTS, statistics
from caffecompat.layers.normalization import BatchNorm
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer
from caffecompat.net.quantization_plan import Links
from caffecompat.schema import pb

__all__ = ["Optimized", "optimize_net"]


@dataclass
class Optimized:
    """What merging did.

    Attributes:
        message: the net as weight files hold it, with Splits.
        blobs: the new parameters by layer name.
        merged: names of the convolutions, each with those of the layers that it took in.
        new_biases: of these, the convolutions that had no bias; the prototxt needs ``bias_term: true`` for them.
    """

    message: pb.NetParameter
    blobs: dict[str, list[np.ndarray]]
    merged: list[tuple[str, list[str]]] = field(default_factory=list)
    new_biases: list[str] = field(default_factory=list)


def optimize_net(net: Net) -> Optimized:
    """Merge each BatchNorm right after a Convolution, and the Scale right after it, into the convolution.

    The rules of caffe-jacinto 0.17 (``Net::OptimizeNet``): in double precision, with the eps that the prototxt states;
    the BatchNorm is left with mean 0 and variance 1 - eps, scales with 1 and biases with 0. A Scale after a BatchNorm
    that has a scale of its own stays as it is; the original loses it. So do layers whose blobs others share.

    Args:
        net: a TEST net with its weights; it stays as it is.
    """
    blobs = {name: [blob.copy() for blob in own] for name, own in net.blobs_by_layer().items()}
    done = Optimized(net.message_with_splits(), blobs)
    params = {param.name: param for param in done.message.layer}
    for convolution, norm, scale in _sequences(net):
        if len(blobs[convolution.name]) == 1:
            done.new_biases.append(convolution.name)
            _add_bias(params[convolution.name], blobs[convolution.name])
        _merge(blobs, convolution, norm, scale)
        done.merged.append((convolution.name, [layer.name for layer in (norm, scale) if layer is not None]))
    return done


def _sequences(net: Net) -> Iterator[tuple[NetLayer, NetLayer, NetLayer | None]]:
    """Convolutions with the BatchNorm and the Scale, if any, that can be merged."""
    links = Links(net.steps)
    for index, step in enumerate(net.steps):
        following = links.next(index)
        if step.type != "Convolution" or following is None or not isinstance(step, NetLayer) or _shared(net, step):
            continue
        norm = net.steps[following]
        if not isinstance(norm, NetLayer) or not isinstance(norm.module, BatchNorm) or _shared(net, norm):
            continue
        after = links.next(following)
        scale = net.steps[after] if after is not None and "scale" not in LAYOUTS[norm.module.layout] else None
        if not isinstance(scale, NetLayer) or scale.type != "Scale" or len(scale.bottoms) != 1 or _shared(net, scale):
            scale = None
        yield step, norm, scale


def _shared(net: Net, layer: NetLayer) -> bool:
    own = {id(slot.parameter) for slot in layer.slots}
    return any(id(slot.parameter) in own for other in net.layers if other is not layer for slot in other.slots)


def _add_bias(param: pb.LayerParameter, blobs: list[np.ndarray]) -> None:
    """Give a convolution a bias of 0."""
    param.convolution_param.bias_term = True
    param.convolution_param.bias_filler.type = "constant"
    param.convolution_param.bias_filler.value = 0
    blobs.append(np.zeros(len(blobs[0]), np.float32))


def _merge(blobs: dict[str, list[np.ndarray]], convolution: NetLayer, norm: NetLayer, scale: NetLayer | None) -> None:
    weight, bias = blobs[convolution.name]
    own = blobs[norm.name]
    assert isinstance(norm.module, BatchNorm)
    layout = norm.module.layout
    parts = statistics(own, layout, len(bias))
    if parts is None:
        raise CaffeCompatError(f"layer {norm.name!r} ({norm.type}): its blobs are not those of a BatchNorm")
    eps = norm.param.batch_norm_param.eps
    factor, shift = parts["scale"].astype(float), parts["bias"].astype(float)
    if scale is not None:
        factor = blobs[scale.name][0].astype(float).ravel()
        shift = blobs[scale.name][1].astype(float).ravel() if len(blobs[scale.name]) > 1 else np.zeros(len(bias))
        blobs[scale.name][0][...] = 1
        for stored in blobs[scale.name][1:]:
            stored[...] = 0
    inverse = (parts["variance"].astype(float) + eps) ** -0.5
    columns = (-1, *[1] * (weight.ndim - 1))
    weight[...] = weight * inverse.reshape(columns) * factor.reshape(columns)
    bias[...] = (bias.ravel() - parts["mean"].astype(float)) * inverse * factor + shift
    identity = {"mean": 0.0, "variance": 1.0 - eps, "factor": 1.0, "scale": 1.0, "bias": 0.0}
    for name, stored in zip(LAYOUTS[layout], own, strict=True):
        if name in identity:
            stored[...] = identity[name]
