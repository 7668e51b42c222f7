"""The passes of an iteration: iter_size batches forward and backward, their gradients summed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from caffecompat.net import Net
from caffecompat.schema import pb
from caffecompat.solver.carried import Carried
from caffecompat.solver.debug import DebugInfo
from caffecompat.solver.exchange import Exchange
from caffecompat.solver.loss_scale import LossScale

__all__ = ["Passes", "Tops"]

Tops = dict[str, Tensor]


@dataclass(eq=False)
class Passes:
    """Runs the train net over its batches.

    Attributes:
        param: the SolverParameter, for iter_size.
        net: the train net.
        scale: of the loss.
        exchange: of gradients and losses with other processes.
        keep_gradients: set gradients to zero in their own memory, which someone outside reads; else they are let go.
    """

    param: pb.SolverParameter
    net: Net
    scale: LossScale
    exchange: Exchange
    keep_gradients: bool = False

    def __post_init__(self) -> None:
        self._carried = Carried(self.net)

    @property
    def gradients(self) -> list[Tensor]:
        """Those of the parameters that have any, summed over the passes so far."""
        return [param.blob.grad for param in self.net.params if param.blob.grad is not None]

    def hold_gradients(self) -> None:
        """Have gradients in memory of their own from the start, and keep them there."""
        self.keep_gradients = True
        for param in self.net.params:
            if param.blob.requires_grad and param.blob.grad is None:
                param.blob.grad = torch.zeros_like(param.blob)

    def begin(self, iteration: int) -> None:
        """Begin an iteration: layers that follow them know its number, gradients are cleared."""
        for layer in self.net.layers:
            if layer.module is not None and layer.module.follows_iteration:
                layer.module.iteration = iteration
        self.net.take_written()
        for param in self.net.params:
            if self.keep_gradients and param.blob.grad is not None:
                param.blob.grad.zero_()
            else:
                param.blob.grad = None

    def run(self, debug: bool) -> tuple[Tensor, Tops]:
        """iter_size passes, gradients summed and free of the loss scale; the mean loss and the last pass's tops.

        Where several processes train, gradients and loss are the mean of theirs, the tops are this one's.
        """
        if self.scale.skips:
            self._carried.keep()
        total = torch.zeros((), device=self.net.device)
        tops: Tops = {}
        for left in reversed(range(self.param.iter_size)):
            if not left:
                self.exchange.begin()
            if debug:
                with DebugInfo(self.net, self.scale.value) as info:
                    loss, tops = self.one()
                    info.log_params()
            else:
                loss, tops = self.one()
            total += loss
        total = self.exchange.finish(total)
        self._unscale_gradients()
        return total / self.param.iter_size, tops

    def one(self) -> tuple[Tensor, Tops]:
        """One forward and backward pass over the next batch: the loss and the output blobs.

        Gradients are added to those there are, times the loss scale.
        """
        tops = self.net()
        loss = self.net.loss(tops)
        if loss.requires_grad:
            (loss * self.scale.value if self.scale.value != 1 else loss).backward()
        return loss.detach(), tops

    def overflow(self, iteration: int) -> bool:
        """Whether the update of these gradients is to be skipped; then what the passes have left is no hindrance."""
        if self.scale.skips:
            self.net.take_written()
        if not self.scale.overflows(self.gradients, iteration):
            return False
        self._carried.take_back()
        return True

    def _unscale_gradients(self) -> None:
        """Take the loss scale out again before anyone sees the gradients: clipping, callbacks, a script's diffs."""
        gradients = self.gradients
        if self.scale.value != 1 and gradients:
            torch._foreach_div_(gradients, self.scale.value)
