"""Jacinto's sparse training: small convolution weights are set to zero in steps and stay zero.

Rules of caffe-jacinto 0.17 (``sparse_mode``, ``sparsity_*``, ``display_sparsity``) and its log lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat import glog
from caffecompat.layers.convolution import Convolution
from caffecompat.layers.softmax import Softmax
from caffecompat.layers.softmax_loss import SoftmaxWithLoss
from caffecompat.net import Net
from caffecompat.resumable import State
from caffecompat.schema import pb

__all__ = ["Sparsifier", "log_test_sparsity", "smallest_to_zero"]

_FRACTION_LIMIT, _BEYOND_TARGET = 0.95, 0.15


@dataclass
class _Conv:
    """A convolution's weight and the numbers that decide how much of it may go."""

    name: str
    weight: nn.Parameter
    group: int
    kernel: tuple[int, ...]
    counts: bool  # whether it counts toward the sparsity reached

    @property
    def inputs(self) -> int:
        return int(self.weight.shape[1]) * self.group

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[0])

    def fraction(self, factor: float) -> float | None:
        """The share of small weights to remove at `factor`; None for layers that are never thinned."""
        grouped = self.group in (0, self.outputs) or self.group >= self.outputs
        if min(self.kernel) <= 2 or grouped or (self.inputs < 32 and self.outputs < 32):
            return None
        return factor if self.inputs >= 32 and self.outputs >= 32 else factor / 2


def smallest_to_zero(weight: Tensor, fraction: float, max_ratio: float, max_value: float) -> Tensor:
    """The mask (1 keep, 0 zero) that removes the smallest magnitudes of each output channel.

    The threshold of a channel is the largest one under which at most `fraction`
    of its weights lie and which is below both `max_value` and `max_ratio` times
    the channel's largest magnitude.

    Args:
        weight: (C_out, C_in / group, kh, kw).
    """
    magnitudes = weight.detach().abs().flatten(1)
    count = magnitudes.shape[1]
    shares = np.arange(count + 1, dtype=np.float32) / np.float32(count)
    allowed = int(np.searchsorted(shares, np.float32(fraction), side="right")) - 1
    largest = magnitudes.amax(1)
    cap = (largest * max_ratio).clamp(max=max_value)
    if allowed < count:
        cap = torch.minimum(cap, magnitudes.kthvalue(allowed + 1, dim=1).values)
    return (magnitudes >= cap[:, None]).to(weight.dtype).view_as(weight)


class Sparsifier:
    """Thins a net's convolutions as a SolverParameter says; does nothing where it says nothing.

    Args:
        param: the SolverParameter.
        net: the train net.
    """

    def __init__(self, param: pb.SolverParameter, net: Net) -> None:
        self.param = param
        self.active = param.sparse_mode != pb.SPARSE_NONE
        self._convs = _convolutions(net)
        self._masks: dict[str, Tensor] = {}  # True where a weight may be other than zero
        self._resumed = False
        self._factor = np.float32(param.sparsity_start_factor)

    def begin(self) -> None:
        """Before training: the weights that are zero stay zero; in a run that goes on, those that were frozen."""
        if not self._resumed:
            self.freeze()
        self._resumed = False

    @torch.no_grad()
    def freeze(self) -> None:
        """Remember which weights are zero now; they stay zero."""
        if self.active:
            self._masks = {conv.name: conv.weight.detach() != 0 for conv in self._convs}
            glog.info("All zero weights of convolution layers are frozen")

    def state(self) -> State:
        """How far it has come; empty where it does nothing."""
        return {"factor": float(self._factor), "masks": dict(self._masks)} if self.active else {}

    def restore(self, state: State) -> list[str]:
        """Go on from there; what differs from then."""
        self._factor = np.float32(state["factor"])
        masks = {name: torch.as_tensor(mask) for name, mask in state["masks"].items()}
        if masks and {name: mask.shape for name, mask in masks.items()} != {
            c.name: c.weight.shape for c in self._convs
        }:
            return ["the convolutions are others; the weights that are zero now stay zero"]
        self._masks = {conv.name: masks[conv.name].to(conv.weight.device) for conv in self._convs if masks}
        self._resumed = bool(masks)
        return []

    def after_update(self, iteration: int) -> None:
        """What follows the update of `iteration`: thin where due, restore zeros, print where due."""
        self._work(iteration)
        if self.param.display_sparsity and iteration % self.param.display_sparsity == 0:
            self.log("after update")

    def after_training(self, iteration: int) -> None:
        """Thin once more, at the end."""
        self._work(iteration)
        if self.param.display_sparsity:
            self.log("after training")

    @torch.no_grad()
    def _work(self, iteration: int) -> None:
        if not self.active:
            return
        if not self._masks:
            self.freeze()
        p = self.param
        due = iteration >= p.sparsity_start_iter and iteration % max(1, p.sparsity_step_iter) == 0
        if p.sparsity_target > 0 and due:
            self._thin(iteration)
        for conv in self._convs:
            conv.weight.mul_(self._masks[conv.name])

    def _thin(self, iteration: int) -> None:
        p, achieved = self.param, self.achieved()
        limit = min(p.sparsity_target + _BEYOND_TARGET, _FRACTION_LIMIT)
        if self._factor > limit or achieved >= p.sparsity_target:
            return
        glog.info(
            f"Finding and applying sparsity: sparsity_target={glog.number(p.sparsity_target)} "
            f"sparsity_factor={glog.number(float(self._factor))} "
            f"sparsity_achieved={glog.number(achieved)} iter={iteration}"
        )
        for conv in self._convs:
            glog.info(f"{conv.name} ni={conv.inputs} no={conv.outputs}")
            fraction = conv.fraction(float(self._factor))
            if fraction is None:
                continue
            conv.weight.mul_(
                smallest_to_zero(conv.weight, fraction, p.sparsity_threshold_maxratio, p.sparsity_threshold_value_max)
            )
            glog.info(f"{conv.name} ZeroWeightsFraction={glog.number(_zeros(conv.weight) / conv.weight.numel())}")
        self.freeze()
        self._factor = np.float32(self._factor + np.float32(p.sparsity_step_factor))

    def achieved(self) -> float:
        """Zeros among the weights of all convolutions that count, as frozen."""
        masks = [self._masks[conv.name] for conv in self._convs if conv.counts]
        total = sum(mask.numel() for mask in masks)
        return sum(_zeros(mask) for mask in masks) / total if total else 0.0

    def log(self, when: str) -> None:
        """Print the sparsity of every convolution and of all."""
        glog.info(f"Sparsity {when}:")
        _log(self._convs)


def log_test_sparsity(net: Net) -> None:
    """Print the sparsity of a test net, in the lines of Jacinto's ``caffe test --display_sparsity=1``."""
    rule = "=" * 25
    glog.info(rule, "caffe.cpp:340")
    glog.info("Sparsity of the test net:", "caffe.cpp:341")
    _log(_convolutions(net))
    glog.info(rule, "caffe.cpp:343")


def _log(convs: Sequence[_Conv]) -> None:
    glog.info(f"Num Params({len(convs)}), Sparsity (zero_weights/count): ", "net.cpp:2301")
    zeros = {conv.name: _zeros(conv.weight) for conv in convs}
    for conv in sorted(convs, key=lambda conv: conv.name):
        glog.info(f"{conv.name}_param_0({zeros[conv.name] / conv.weight.numel():.3g}) ", "net.cpp:2312")
    none, total = sum(zeros.values()), sum(conv.weight.numel() for conv in convs)
    share = none / total if total else 0.0
    glog.info(f"Total Sparsity (zero_weights/count) =  ({none:.6g}/{total:.6g}) {share:.3g}", "net.cpp:2316")


def _zeros(tensor: Tensor) -> int:
    return int((tensor == 0).sum())


def _convolutions(net: Net) -> list[_Conv]:
    found = []
    for at, layer in enumerate(net.layers):
        if not isinstance(layer.module, Convolution):
            continue
        weight = layer.module.blobs[0]
        following = net.layers[at + 1].module if at + 1 < len(net.layers) else None
        counts = not isinstance(following, Softmax | SoftmaxWithLoss)
        group = layer.param.convolution_param.group
        found.append(_Conv(layer.name, weight, group, tuple(weight.shape[2:]), counts))
    return found
