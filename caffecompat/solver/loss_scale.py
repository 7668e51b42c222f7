"""The factor of the loss that keeps small gradients of layers in 16 bits from vanishing; updates never see it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from caffecompat import glog
from caffecompat.net import Net
from caffecompat.resumable import State

__all__ = ["AdaptiveLossScale", "DynamicLossScale", "LossScale", "make_loss_scale"]


class LossScale:
    """``global_grad_scale``: the same factor in all iterations (NVCaffe).

    Attributes:
        value: what the loss of the next pass is multiplied by, and its gradients are divided by.
        changes: whether it does so during a run.
        skips: whether gradients that are not finite make it skip the update.
        skipped: updates on end that were skipped.
    """

    changes = False
    skips = False
    skipped = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def overflows(self, gradients: Sequence[Tensor], iteration: int) -> bool:
        """Whether an update with these gradients is skipped; to be asked once an iteration."""
        return False

    @property
    def suspicious(self) -> bool:
        """Whether so many updates have just been skipped that the scale cannot be the reason; true once."""
        return False

    def after_update(self, squares: float) -> None:
        """An update has been done; `squares` is the sum of squares of its gradients."""

    def state(self) -> State:
        """What a resumed run takes over."""
        return {}

    def restore(self, state: State) -> list[str]:
        """Go on from there; remarks on what cannot be taken over."""
        return ["it changed in that run; in this one it does not"]


class AdaptiveLossScale(LossScale):
    """``global_grad_scale_adaptive``: global_grad_scale times the gradients' norm (NVCaffe 0.17, net.cpp).

    The norm is the root of the sum of squares over all parameters that the last update changed, of the gradients as
    the update took them: without the scale, clipped, divided by iter_size, before weight decay; those of a parameter
    with NaN count as 0. While the sum is 0, as before the first update, the scale is global_grad_scale itself.
    NVCaffe rounds the sum to millionths, which is left out here.
    """

    changes = True

    def __init__(self, value: float) -> None:
        super().__init__(value)
        self.factor = value

    def after_update(self, squares: float) -> None:
        self.value = self.factor * math.sqrt(squares) if squares > 0 else self.factor

    def state(self) -> State:
        return {"value": self.value}

    def restore(self, state: State) -> list[str]:
        self.value = float(state["value"])
        return []


class DynamicLossScale(LossScale):
    """``global_grad_scale_dynamic``: as great as it can be without overflow, as torch's GradScaler finds it.

    It starts at 65536 and doubles after 2000 good updates on end. Gradients of which one is not finite halve it, and
    the update that they are for is skipped. To know whether it is, a GPU is waited for once an iteration, as with
    GradScaler; without a loss scale that changes it is not.

    Attributes:
        good: updates on end since it last changed.

    >>> scale = DynamicLossScale()
    >>> scale.overflows([torch.tensor([1.0, float("inf")])], iteration=0), scale.value
    (True, 32768.0)
    """

    changes = True
    skips = True
    START, INTERVAL, MANY = 65536.0, 2000, 32
    LEAST = 2.0**-126  # the least normal float32: it must not become 0

    def __init__(self) -> None:
        super().__init__(self.START)
        self.good = 0

    def overflows(self, gradients: Sequence[Tensor], iteration: int) -> bool:
        if finite(gradients):
            self.skipped = 0
            self.good += 1
            if self.good == self.INTERVAL:
                self.value, self.good = self.value * 2, 0
            return False
        before = self.value
        self.value, self.good = max(before / 2, self.LEAST), 0
        self.skipped += 1
        glog.info(
            f"Iteration {iteration}: gradients overflow at loss scale {before:g}; the update is skipped, and the scale "
            f"is now {self.value:g}"
        )
        return True

    @property
    def suspicious(self) -> bool:
        return self.skipped == self.MANY

    def state(self) -> State:
        return {"value": self.value, "good": self.good, "skipped": self.skipped}

    def restore(self, state: State) -> list[str]:
        self.value, self.good = float(state["value"]), int(state["good"])
        self.skipped = int(state["skipped"])
        return []


def finite(tensors: Sequence[Tensor]) -> bool:
    """Whether none of the tensors holds NaN or infinity."""
    if not tensors:
        return True
    return bool(torch.isfinite(torch.stack(torch._foreach_norm(list(tensors), math.inf))).all())


def make_loss_scale(net: Net) -> LossScale:
    """The loss scale that a train net asks for.

    Without layers in 16 bits a fixed or adaptive one would change nothing but how gradients are rounded, so that there
    is none; the dynamic one works in every net, for what it skips.
    """
    message = net.message
    if message.global_grad_scale_dynamic:
        return DynamicLossScale()
    if not net.half_precision:
        return LossScale(1.0)
    if message.global_grad_scale_adaptive:
        return AdaptiveLossScale(message.global_grad_scale)
    return LossScale(message.global_grad_scale)
