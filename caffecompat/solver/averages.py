"""``ema_decay``: an exponential moving average of a net's weights, which its tests use and snapshots keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from caffecompat.net import Net
from caffecompat.resumable import State

__all__ = ["WeightAverages"]


class WeightAverages:
    """Of every parameter blob of a net, statistics of BatchNorm included: average = d average + (1 - d) weight.

    Training never sees them; they start as the weights are when training starts.

    Args:
        net: the train net.
        decay: d, at least 0 and less than 1; 0 is no averages at all, and every method does nothing.
    """

    def __init__(self, net: Net, decay: float) -> None:
        self._net, self._decay = net, decay
        self._values: list[Tensor] = []
        self._trained: list[Tensor] | None = None  # the net's own weights while averages are in their place
        self.begin()

    @property
    def wanted(self) -> bool:
        """Whether there are averages."""
        return self._decay > 0

    def begin(self) -> None:
        """Let the averages be the weights that the net has now."""
        if self.wanted:
            self._net.take_written()
            self._values = _copies(self._weights())

    @torch.no_grad()
    def update(self, masks: Mapping[str, Tensor] | None = None, *, skipped: bool = False) -> None:
        """Take in the weights of one more update.

        Args:
            masks: of frozen zeros, as of `keep_zeros`.
            skipped: the iteration changed no weights and is not taken in.
        """
        if self.wanted and not skipped:
            torch._foreach_mul_(self._values, self._decay)
            torch._foreach_add_(self._values, self._weights(), alpha=1 - self._decay)
        self.keep_zeros(masks or {})

    @torch.no_grad()
    def keep_zeros(self, masks: Mapping[str, Tensor]) -> None:
        """Set averages to 0 where the mask of their layer's weight (its first blob) is False: sparse nets stay so."""
        if self.wanted and masks:
            for param, value in zip(self._net.params, self._values, strict=True):
                if param.index == 0 and param.layer in masks:
                    value.mul_(masks[param.layer])

    @contextmanager
    def in_the_net(self) -> Iterator[None]:
        """Meanwhile the net, and those that share its parameters, compute with the averages.

        What changes the parameters meanwhile (statistics that a test net moves) leaves no trace.
        """
        if not self.wanted:
            yield
            return
        self._net.take_written()
        before, trained = self._trained, _copies(self._weights())
        self._trained = trained
        _put(self._values, self._weights())
        try:
            yield
        finally:
            _put(trained, self._weights())
            self._trained = before

    @contextmanager
    def out_of_the_net(self) -> Iterator[None]:
        """Meanwhile the net has its own weights, also within :meth:`in_the_net`: in a snapshot during a test."""
        if self._trained is None:
            yield
            return
        trained, averages = self._trained, _copies(self._weights())
        self._trained = None
        _put(trained, self._weights())
        try:
            yield
        finally:
            _put(averages, self._weights())
            self._trained = trained

    def load(self, path: str) -> None:
        """Take the averages from a weight file."""
        with self.in_the_net():
            self._net.load_weights(path)
            self.begin()

    def state(self) -> State:
        """The averages by layer and blob; like the net's weights they change at the very end of an iteration alone."""
        return dict(zip(self._names(), self._values, strict=True)) if self.wanted else {}

    def restore(self, state: State) -> list[str]:
        """Go on with such averages; a remark on each that is missing or of another size."""
        if not self.wanted:
            return ["this run has no ema_decay, so they are left out"]
        remarks = []
        for name, value in zip(self._names(), self._values, strict=True):
            stored = torch.as_tensor(state[name]) if name in state else None
            if stored is None or stored.numel() != value.numel():
                remarks.append(f"the average of {name} is not in it; it starts from the weights")
            else:
                value.copy_(stored.reshape(value.shape))
        return remarks

    def _weights(self) -> list[Tensor]:
        return [param.blob.detach() for param in self._net.params]

    def _names(self) -> list[str]:
        return [f"{param.layer}[{param.index}]" for param in self._net.params]


def _copies(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


def _put(values: list[Tensor], weights: list[Tensor]) -> None:
    for value, weight in zip(values, weights, strict=True):
        weight.copy_(value)
