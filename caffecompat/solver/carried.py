"""What a pass changes in a net besides its tops: statistics of batch normalization, states of recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from caffecompat.layers import Layer
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer
from caffecompat.resumable import State

__all__ = ["Carried"]


class Carried:
    """Takes back what passes with NaN or infinity have left, which all later passes would inherit.

    Args:
        net: the train net.
    """

    def __init__(self, net: Net) -> None:
        self._layers = [
            (layer, layer.module)
            for layer in net.layers
            if layer.module is not None and (layer.module.remembers or _statistics(layer))
        ]
        self._kept: list[tuple[State, list[Tensor]]] = []

    def keep(self) -> None:
        """Note how things are now."""
        self._kept = [
            (_remembered(module), [blob.clone() for blob in _statistics(layer)]) for layer, module in self._layers
        ]

    @torch.no_grad()
    def take_back(self) -> None:
        """Let each layer that is left with a value that is not finite be as it was at the last `keep`."""
        for (layer, module), (state, blobs) in zip(self._layers, self._kept, strict=True):
            now = _statistics(layer)
            if _finite([*now, *(value for value in _remembered(module).values() if isinstance(value, Tensor))]):
                continue
            for blob, before in zip(now, blobs, strict=True):
                blob.copy_(before)
            if module.remembers:
                module.restore(state)


def _statistics(layer: NetLayer) -> list[Tensor]:
    return [slot.tensor() for slot in layer.slots if not slot.learned]


def _remembered(module: Layer) -> State:
    return module.state() if module.remembers else {}


def _finite(tensors: Sequence[Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
