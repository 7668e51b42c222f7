"""What fixed point costs in each layer: the noise that it adds to each activation, and how much of it saturates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from caffecompat.layers.fixed import FixedNeuron, quantized_blobs
from caffecompat.net import Net
from caffecompat.quantize.calibrate import quantized_net
from caffecompat.schema import NetDocument, pb

__all__ = ["LayerNoise", "decibels", "in_floating_point", "layer_noise"]

_PASSED = ("ReLU", "ReLU6")


@dataclass(frozen=True)
class LayerNoise:
    """An activation in fixed point against the same net in floating point.

    Attributes:
        layer: that computes it. `blob`: that holds it, quantized after ReLU and maximum pooling.
        bits, position: of its grid, steps of 2^-position.
        ratio: signal to noise in decibels against the net in floating point; all layers up to here add to the noise.
        own: the same of this activation's rounding and saturation alone.
        weights: the same of the layer's weights and bias; nan for a layer without.
        saturated: share of the values that the grid is too short for, 0 to 1.
    """

    layer: str
    blob: str
    bits: int
    position: int
    ratio: float
    own: float
    weights: float
    saturated: float


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of sums of squares; inf without noise, nan where nothing was measured.

    >>> decibels(100.0, 1.0)
    20.0
    """
    if noise > 0:
        return 10 * math.log10(signal / noise) if signal > 0 else -math.inf
    return math.inf if signal > 0 else math.nan


def in_floating_point(message: pb.NetParameter) -> pb.NetParameter:
    """A quantized net without its neurons, its layers of the types before; average poolings are plain ones again."""
    plain = pb.NetParameter()
    plain.CopyFrom(message)
    plain.ClearField("layer")
    for layer in message.layer:
        if layer.type == "FixedNeuron":
            continue
        added = plain.layer.add()
        added.CopyFrom(layer)
        added.type = layer.type.removesuffix("Fixed")
        added.ClearField("fixed_param")
    return plain


def layer_noise(
    document: NetDocument,
    blobs: Mapping[str, Sequence[np.ndarray]],
    *,
    iterations: int = 8,
    device: torch.device | str = "cpu",
) -> list[LayerNoise]:
    """Measure each neuron of a calibrated net in its TEST phase, worst ratio first.

    Args:
        document: the quantized net, with data layers.
        blobs: of its layers, floats; the neurons' positions.
        iterations: batches to measure.
    """
    device = torch.device(device)
    fixed = quantized_net(document, blobs, device, pb.TEST)
    message = in_floating_point(document.message)
    like, relative = document.fork_choice, document.relative_to
    plain = quantized_net(
        NetDocument.from_message(message, document.path, like=like, relative_to=relative), blobs, device, pb.TEST
    )
    neurons = [_Neuron(fixed, at) for at, layer in enumerate(fixed.layers) if layer.type == "FixedNeuron"]
    hooks = [hook for neuron in neurons for hook in neuron.hooks(plain)]
    try:
        with torch.no_grad():
            for _ in range(iterations):
                batch = fixed.next_batch()
                for neuron in neurons:
                    if neuron.blob in batch:
                        neuron.wanted = plain.fed_tensors(batch)[neuron.blob]
                plain(batch)
                fixed(batch)
        found = [neuron.result() for neuron in neurons]
    finally:
        for hook in hooks:
            hook.remove()
        fixed.close()
        plain.close()
    return sorted(found, key=lambda one: (math.isnan(one.ratio), one.ratio))


class _Neuron:
    """A neuron's place, and sums over the batches."""

    def __init__(self, net: Net, at: int) -> None:
        self._net, self._at = net, at
        self.blob = net.layers[at].param.top[0]
        self.wanted: Tensor | None = None  # of this batch, in floating point
        self._signal = self._noise = self._own_signal = self._own_noise = 0.0
        self._cut = self._values = 0

    def hooks(self, plain: Net) -> Iterator[RemovableHandle]:
        """Look at what comes before the neuron in the net without any, and at what the neuron does."""
        before = self._net.layers[_writer(self._net, self._at, self.blob)]
        source = next(layer for layer in plain.layers if layer.name == before.name)
        index = list(before.param.top).index(self.blob)

        def keep(module: nn.Module, inputs: tuple[Any, ...], top: Any) -> None:
            self.wanted = (top if isinstance(top, Tensor) else top[index]).clone()

        if source.module is not None:
            yield source.module.register_forward_hook(keep)
        yield self._module.register_forward_hook(self._compare)

    @property
    def _module(self) -> FixedNeuron:
        module = self._net.layers[self._at].module
        assert isinstance(module, FixedNeuron)
        return module

    def _compare(self, module: nn.Module, inputs: tuple[Any, ...], top: Any) -> None:
        bottom, neuron = inputs[0], self._module
        assert self.wanted is not None
        self._signal += _energy(self.wanted)
        self._noise += _energy(self.wanted - top)
        self._own_signal += _energy(bottom)
        self._own_noise += _energy(bottom - top)
        self._values += bottom.numel()
        if not neuron.follows_data:  # which does not clamp
            step, half = math.ldexp(1.0, -math.floor(neuron.position.item())), 2 ** (neuron.bits - 1)
            if step == 0:  # the position of zeros
                self._cut += int(bottom.count_nonzero())
                return
            self._cut += int(((bottom >= (half - 0.5) * step) | (bottom < -(half + 0.5) * step)).sum())

    def result(self) -> LayerNoise:
        maker = self._net.layers[_maker(self._net, self._at, self.blob)]
        rounded = quantized_blobs(maker.module)
        signal = noise = 0.0
        for slot, on_grid in zip(maker.slots, rounded or (), strict=False):
            signal += _energy(slot.parameter.detach())
            noise += _energy(slot.parameter.detach() - on_grid)
        return LayerNoise(
            maker.name, self.blob, self._module.bits, math.floor(self._module.position.item()),
            decibels(self._signal, self._noise), decibels(self._own_signal, self._own_noise),
            decibels(signal, noise), self._cut / max(1, self._values),
        )  # fmt: skip


def _energy(values: Tensor) -> float:
    return float(values.double().square().sum())


def _writer(net: Net, before: int, blob: str) -> int:
    """The place of the last layer before a place that writes a blob."""
    return next(at for at in reversed(range(before)) if blob in net.layers[at].param.top)


def _maker(net: Net, before: int, blob: str) -> int:
    """The place of the layer that computes what reaches a neuron, through activations and poolings."""
    at = _writer(net, before, blob)
    param = net.layers[at].param
    passed = param.type in _PASSED or (param.type == "Pooling" and param.pooling_param.pool != pb.PoolingParameter.AVE)
    if not passed or not any(param.bottom[0] in layer.param.top for layer in net.layers[:at]):
        return at
    return _maker(net, at, param.bottom[0])
