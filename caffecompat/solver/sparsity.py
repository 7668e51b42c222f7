"""Jacinto's sparse training: small convolution weights are set to zero in steps and stay zero.

Rules of caffe-jacinto 0.17 (``sparse_mode``, ``sparsity_*``, ``display_sparsity``) and its log lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from caffecompat import glog
from caffecompat.net import Net
from caffecompat.net.sparsity import WeightLayer, count_zeros, find_weight_layers, smallest_to_zero
from caffecompat.resumable import State
from caffecompat.schema import pb

__all__ = ["Sparsifier", "log_sparsity", "log_test_sparsity"]

_FRACTION_LIMIT, _BEYOND_TARGET = 0.95, 0.15


class Sparsifier:
    """Thins a net's convolutions as a SolverParameter says; does nothing where it says nothing.

    Args:
        param: the SolverParameter.
        net: the train net.

    Attributes:
        masks: of the layers whose zeros are frozen, by name: True where the weight may be other than zero.
    """

    def __init__(self, param: pb.SolverParameter, net: Net) -> None:
        self.param = param
        self.active = param.sparse_mode != pb.SPARSE_NONE
        self._layers = {layer.name: layer for layer in find_weight_layers(net)}
        self._convs = [layer for layer in self._layers.values() if layer.is_convolution]
        self._frozen = [conv.name for conv in self._convs]  # whose zeros stay
        self.masks: dict[str, Tensor] = {}
        self._resumed = False
        self._factor = np.float32(param.sparsity_start_factor)
        _warn_of_settings(param)

    def freeze_also(self, names: Iterable[str]) -> None:
        """Let the zeros of these layers stay zero too; Jacinto freezes those of convolutions alone."""
        self._frozen += [name for name in names if name in self._layers and name not in self._frozen]

    def begin(self) -> None:
        """Before training: the weights that are zero stay zero; in a run that goes on, those that were frozen."""
        if not self._resumed:
            self.freeze()
        self._resumed = False

    @torch.no_grad()
    def freeze(self) -> None:
        """Remember which weights are zero now; they stay zero."""
        if self.active:
            self.masks = {name: self._layers[name].weight.detach() != 0 for name in self._frozen}
            glog.info("All zero weights of convolution layers are frozen")

    def state(self) -> State:
        """How far it has come; empty where it does nothing."""
        return {"factor": float(self._factor), "masks": dict(self.masks)} if self.active else {}

    def restore(self, state: State) -> list[str]:
        """Go on from there; what differs from then."""
        self._factor = np.float32(state["factor"])
        masks = {name: torch.as_tensor(mask) for name, mask in state["masks"].items()}
        known = {name: layer.weight.shape for name, layer in self._layers.items()}
        if masks and (
            not {conv.name for conv in self._convs} <= masks.keys()
            or any(known.get(name) != mask.shape for name, mask in masks.items())
        ):
            return ["the layers with frozen zeros are others; the weights that are zero now stay zero"]
        self.freeze_also(masks)
        self.masks = {name: mask.to(self._layers[name].weight.device) for name, mask in masks.items()}
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
        if not self.masks:
            self.freeze()
        p = self.param
        due = iteration >= p.sparsity_start_iter and iteration % max(1, p.sparsity_step_iter) == 0
        if p.sparsity_target > 0 and due:
            self._thin(iteration)
        for name, mask in self.masks.items():
            self._layers[name].weight.mul_(mask)

    def _thin(self, iteration: int) -> None:
        p, achieved = self.param, self.achieved()
        if self._factor > _largest_factor(p) or achieved >= p.sparsity_target:
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
            rows = conv.by_output(conv.weight)
            stay = smallest_to_zero(rows, fraction, p.sparsity_threshold_maxratio, p.sparsity_threshold_value_max)
            conv.weight.mul_(conv.from_output(stay))
            share = count_zeros(conv.weight) / conv.weight.numel()
            glog.info(f"{conv.name} ZeroWeightsFraction={glog.number(share)}")
        self.freeze()
        self._factor = np.float32(self._factor + np.float32(p.sparsity_step_factor))

    def achieved(self) -> float:
        """Zeros among the weights of all convolutions that count, as frozen."""
        masks = [self.masks[conv.name] for conv in self._convs if conv.counts]
        total = sum(mask.numel() for mask in masks)
        return sum(map(count_zeros, masks)) / total if total else 0.0

    def log(self, when: str) -> None:
        """Print the sparsity of every convolution and of all."""
        glog.info(f"Sparsity {when}:")
        log_sparsity(self._convs)


def _largest_factor(param: pb.SolverParameter) -> float:
    """The share of zeros beyond which no thinning goes."""
    return min(param.sparsity_target + _BEYOND_TARGET, _FRACTION_LIMIT)


def _warn_of_settings(param: pb.SolverParameter) -> None:
    """Say which settings thin nothing, or are no shares; caffe-jacinto takes them in silence."""
    target, start = param.sparsity_target, param.sparsity_start_factor
    if param.sparse_mode == pb.SPARSE_NONE:
        if target > 0:
            glog.warning(f"sparsity_target: {target:g} has no effect without sparse_mode: SPARSE_UPDATE")
        return
    if not 0 <= target <= 1:
        glog.warning(f"sparsity_target: {target:g} is no share of zeros, 0 to 1, as 0.8")
    if target > 0 and start > _largest_factor(param):
        glog.warning(
            f"sparsity_start_factor: {start:g} is beyond {_largest_factor(param):g}, the most that sparsity_target: "
            f"{target:g} allows: nothing is thinned"
        )


def log_test_sparsity(net: Net) -> None:
    """Print the sparsity of a test net, in the lines of Jacinto's ``caffe test --display_sparsity=1``."""
    rule = "=" * 25
    glog.info(rule, "caffe.cpp:340")
    glog.info("Sparsity of the test net:", "caffe.cpp:341")
    log_sparsity(find_weight_layers(net))
    glog.info(rule, "caffe.cpp:343")


def log_sparsity(layers: Iterable[WeightLayer]) -> None:
    """Print the zeros of the weights that Jacinto counts, in its words."""
    counted: Sequence[WeightLayer] = sorted((layer for layer in layers if layer.counts), key=lambda one: one.label)
    glog.info(f"Num Params({len(counted)}), Sparsity (zero_weights/count): ", "net.cpp:2301")
    zeros = {layer.label: count_zeros(layer.weight) for layer in counted}
    for layer in counted:
        glog.info(f"{layer.label}({zeros[layer.label] / layer.weight.numel():.3g}) ", "net.cpp:2312")
    none, total = sum(zeros.values()), sum(layer.weight.numel() for layer in counted)
    share = none / total if total else 0.0
    glog.info(f"Total Sparsity (zero_weights/count) =  ({none:.6g}/{total:.6g}) {share:.3g}", "net.cpp:2316")
