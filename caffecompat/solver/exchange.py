"""The mean of the gradients over all processes, begun while backward still computes those of earlier layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from caffecompat import glog
from caffecompat.layers.bn import BN
from caffecompat.layers.normalization import BatchNorm
from caffecompat.net import Net
from caffecompat.net.params import BlobSlot
from caffecompat.solver.ranks import Ranks

__all__ = ["Exchange", "own_slots", "synchronize_norms"]

_BUCKET = 4 << 20  # bytes of gradients that go together


class Exchange:
    """Exchanges the gradients of an iteration, and its loss.

    Parameters are in buckets, those of the last layers first. A bucket is sent as soon as the last backward pass of the
    iteration has added to all its gradients and the buckets before it are sent, so that the order is the same in all
    processes. What no pass reached (a parameter without gradient) joins the rest as zeros after that pass.

    A gradient that fills a bucket is summed in its own memory; small ones are copied together and back.

    Args:
        parameters: of the net, in net order.
    """

    def __init__(self, ranks: Ranks, parameters: Sequence[nn.Parameter]) -> None:
        self._ranks = ranks
        learned = {id(each): each for each in parameters if each.requires_grad} if ranks.size > 1 else {}
        self._buckets = _in_buckets(list(reversed(learned.values())))
        self._bucket_of = {id(each): at for at, bucket in enumerate(self._buckets) for each in bucket}
        self._open = False  # whether this is the last pass of an iteration
        self._missing: list[int] = []  # gradients that a bucket still waits for
        self._sent: list[tuple[dist.Work | None, Tensor]] = []
        for each in learned.values():
            each.register_post_accumulate_grad_hook(self._arrived)

    def begin(self) -> None:
        """The last backward pass of an iteration comes next."""
        self._open = bool(self._buckets)
        self._missing = [len(bucket) for bucket in self._buckets]
        self._sent = []

    @torch.no_grad()
    def finish(self, loss: Tensor) -> Tensor:
        """Send what is left, and put the means in the place of the gradients; the mean loss of all processes."""
        if self._ranks.size == 1:
            return loss
        self._open = False
        for at in range(len(self._sent), len(self._buckets)):
            self._send(at)
        for bucket, (sent, total) in zip(self._buckets, self._sent, strict=True):
            self._ranks.finish(sent)
            total.div_(self._ranks.size)
            gradients = [_gradient(each) for each in bucket]
            if total is not gradients[0]:  # who holds on to a gradient's memory reads the mean there
                parts = total.split([each.numel() for each in gradients])
                torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])
        return self._ranks.mean(loss)

    def _arrived(self, parameter: Tensor) -> None:
        if not self._open:
            return
        self._missing[self._bucket_of[id(parameter)]] -= 1
        while len(self._sent) < len(self._buckets) and not self._missing[len(self._sent)]:
            self._send(len(self._sent))

    def _send(self, at: int) -> None:
        gradients = [_gradient(each) for each in self._buckets[at]]
        if len(gradients) == 1 and gradients[0].is_contiguous():
            total = gradients[0]
        else:
            total = torch.cat([each.reshape(-1) for each in gradients])
        self._sent.append((self._ranks.begin_sum(total), total))


def _gradient(parameter: nn.Parameter) -> Tensor:
    """Its gradient; zeros where no pass has reached it."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _in_buckets(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters in their order, in groups of at most a bucket's size, or of one; each of one type."""
    buckets: list[list[nn.Parameter]] = []
    room = 0
    for each in parameters:
        size = each.numel() * each.element_size()
        if size > room or each.dtype != buckets[-1][-1].dtype:
            buckets.append([])
            room = _BUCKET
        buckets[-1].append(each)
        room -= size
    return buckets


def own_slots(net: Net) -> list[BlobSlot]:
    """The parameter blobs of a net, each once, those that do not learn included."""
    return [slot for layer in net.layers for slot in layer.slots if slot.owner is None]


def synchronize_norms(net: Net, ranks: Ranks) -> None:
    """Let layers that normalize by the batch in training take the batches of all processes as one."""
    norms = [layer.module for layer in net.layers if isinstance(layer.module, (BN, BatchNorm))]
    if ranks.statistics is None or not norms:
        why = "there is one process" if norms else "the net has no batch normalization"
        glog.warning(f"--sync-bn has no effect: {why}")
    for norm in norms:
        norm.group = ranks.statistics
