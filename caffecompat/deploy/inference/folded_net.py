"""A net's layers as a list of calls, without those that others have taken in."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from caffecompat.deploy.fold_norm import Folded, fold_norms
from caffecompat.deploy.inference.packed import pack
from caffecompat.layers import Layer
from caffecompat.layers.activation import ReLU
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer, Value

__all__ = ["FoldedNet"]


@dataclass
class _Call:
    """One layer: what computes it, the values that it reads and makes, and those that nobody reads afterwards.

    Values have numbers here, which are quicker to look up.
    """

    compute: Callable[..., Any]
    reads: list[int]
    makes: list[int]
    frees: list[int] = field(default_factory=list)


class FoldedNet:
    """What a net computes in phase TEST, with less work.

    Normalization and Scale are folded into the layers around them, a ReLU right after a convolution is computed with
    it, and on CPUs the weights of convolutions are laid out once. Layers without such changes are the net's own, so
    their parameters are not held twice; folded ones have the values that they have now. Values are freed as soon as
    nobody needs them. Numbers are the net's but for rounding.

    Args:
        net: in 32 bits, its own layers in place; it stays as it is.

    Attributes:
        folded: how many layers went into others.
    """

    def __init__(self, net: Net) -> None:
        changes = _changes(net)
        self.folded = len(changes.gone) if changes is not None else 0
        builder = _Builder(net, changes)
        self._calls = builder.calls()
        fed = [value for layer in net.layers if layer.module is None for value in layer.top_values]
        self._fed = [(builder.number(value), value.blob) for value in fed]
        self._outputs = {value.blob: builder.number(value) for value in net.graph.outputs}

    def __call__(self, fed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name, of the fed blobs in the net's memory format on its device."""
        with torch.inference_mode():
            values = {number: fed[blob] for number, blob in self._fed}
            for call in self._calls:
                made = call.compute(*[values[value] for value in call.reads])
                if isinstance(made, tuple):
                    values.update(zip(call.makes, made, strict=False))
                else:
                    values[call.makes[0]] = made
                for value in call.frees:
                    del values[value]
        return {blob: _ordinary(values[value]) for blob, value in self._outputs.items()}


class _Builder:
    def __init__(self, net: Net, changes: Folded | None) -> None:
        self.net = net
        self.gone = {} if changes is None else dict.fromkeys(changes.gone)
        self.changed = {} if changes is None else {name: changes.blobs[name] for _, name in changes.folded}
        self.same: dict[Value, Value] = {}
        self.numbers: dict[Value, int] = {}
        for layer in net.layers:
            if layer.index in self.gone:
                self._pass_on(layer)
        self.outputs = {self.origin(value) for value in net.graph.outputs}
        self.readers: dict[Value, list[NetLayer]] = {}
        for layer in net.layers:
            if layer.module is not None and layer.index not in self.gone:
                for value in layer.known_bottoms:
                    self.readers.setdefault(self.origin(value), []).append(layer)

    def origin(self, value: Value) -> Value:
        """The value that is computed where layers between the two have gone."""
        while value in self.same:
            value = self.same[value]
        return value

    def _pass_on(self, layer: NetLayer) -> None:
        self.same[layer.top_values[0]] = layer.known_bottoms[0]

    def calls(self) -> list[_Call]:
        """All calls in order."""
        made: list[_Call] = []
        for layer in self.net.layers:
            if layer.module is not None and layer.index not in self.gone:
                compute = self._compute(layer)
                reads, makes = map(self.number, layer.known_bottoms), map(self.number, layer.top_values)
                made.append(_Call(compute, list(reads), list(makes)))
        last: dict[int, _Call] = {}
        for call in made:
            last.update(dict.fromkeys((*call.reads, *call.makes), call))
        kept = set(map(self.number, self.outputs))
        for value, call in last.items():
            if value not in kept:
                call.frees.append(value)
        return made

    def number(self, value: Value) -> int:
        """That of the value as it is computed."""
        return self.numbers.setdefault(self.origin(value), len(self.numbers))

    def _compute(self, layer: NetLayer) -> Callable[..., Any]:
        module = layer.module
        assert module is not None
        if layer.name in self.changed:
            module = _with_blobs(module, self.changed[layer.name])
        compute: Callable[..., Any] = module
        if len(layer.bottoms) == len(layer.top_values) == 1:
            relu = self._relu_after(layer)
            packed = pack(
                module, self.net.value_shapes[layer.known_bottoms[0]], None if relu is None else _relu_of(relu)
            )
            if packed is not None:
                compute = packed
                if relu is not None:
                    self.gone[relu.index] = None
                    self._pass_on(relu)
            elif isinstance(module, ReLU) and not module.slope:
                compute = functools.partial(F.relu, inplace=self._may_overwrite(layer))
        return compute

    def _relu_after(self, layer: NetLayer) -> NetLayer | None:
        """The ReLU that alone reads what a layer makes."""
        top = layer.top_values[0]
        readers = self.readers.get(top, [])
        if len(readers) != 1 or top in self.outputs or not isinstance(readers[0].module, ReLU):
            return None
        return readers[0]

    def _may_overwrite(self, layer: NetLayer) -> bool:
        """Whether a ReLU may write over its bottom: the net lets it, and what makes it is not fed."""
        return layer in self.net.inplace_layers and len(self.readers[self.origin(layer.known_bottoms[0])]) == 1


def _relu_of(layer: NetLayer) -> ReLU:
    assert isinstance(layer.module, ReLU)
    return layer.module


def _changes(net: Net) -> Folded | None:
    """What folding makes of a net; None where nothing can be folded, or not in 32 bits."""
    if not any(layer.module is not None and layer.module.channel_affine for layer in net.layers):
        return None
    with np.errstate(over="ignore"):
        folded = fold_norms(net, around=True)
    changed = {name for _, name in folded.folded}
    if not all(np.isfinite(blob).all() for name in changed for blob in folded.blobs[name]):
        return None  # the factors are beyond what a float holds
    return folded if changed else None


def _with_blobs(module: Layer, blobs: Sequence[np.ndarray]) -> Layer:
    """The same layer with other weights, and a bias where it had none."""
    twin = copy.copy(module)
    device = next(module.parameters()).device
    made = [nn.Parameter(torch.from_numpy(blob).to(device), requires_grad=False) for blob in blobs]
    twin._parameters = dict(zip(("weight", "bias"), [*made, None][:2], strict=True))
    return twin


def _ordinary(top: Tensor) -> Tensor:
    """A tensor as made outside of inference mode, in the same memory: others may go on computing with it."""
    return torch.from_numpy(top.numpy()) if top.device.type == "cpu" and top.is_inference() else top
