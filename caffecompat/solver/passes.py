"""The passes of an iteration: iter_size batches forward and backward, their gradients summed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from caffecompat.net import Net
from caffecompat.schema import pb
from caffecompat.solver.debug import DebugInfo

__all__ = ["Passes", "Tops"]

Tops = dict[str, Tensor]


@dataclass(eq=False)
class Passes:
    """Runs the train net over its batches.

    Attributes:
        param: the SolverParameter, for iter_size.
        net: the train net.
        keep_gradients: set gradients to zero in their own memory, which someone outside reads; else they are let go.
    """

    param: pb.SolverParameter
    net: Net
    keep_gradients: bool = False

    @property
    def loss_scale(self) -> float:
        """NVCaffe's, which keeps small gradients of half-precision layers from vanishing."""
        return self.net.message.global_grad_scale if self.net.half_precision else 1.0

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
        """iter_size passes, gradients summed and free of the loss scale; the mean loss and the last pass's tops."""
        total = torch.zeros((), device=self.net.device)
        tops: Tops = {}
        for _ in range(self.param.iter_size):
            if debug:
                with DebugInfo(self.net, self.loss_scale) as info:
                    loss, tops = self.one()
                    info.log_params()
            else:
                loss, tops = self.one()
            total += loss
        self._unscale_gradients()
        return total / self.param.iter_size, tops

    def one(self) -> tuple[Tensor, Tops]:
        """One forward and backward pass over the next batch: the loss and the output blobs.

        Gradients are added to those there are, times the loss scale.
        """
        tops = self.net()
        loss = self.net.loss(tops)
        if loss.requires_grad:
            (loss * self.loss_scale if self.loss_scale != 1 else loss).backward()
        return loss.detach(), tops

    def _unscale_gradients(self) -> None:
        """Take the loss scale out again before anyone sees the gradients: clipping, callbacks, a script's diffs."""
        gradients = [param.blob.grad for param in self.net.params if param.blob.grad is not None]
        if self.loss_scale != 1 and gradients:
            torch._foreach_div_(gradients, self.loss_scale)
