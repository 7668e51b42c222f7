"""What NVCaffe and TI's Jacinto add to the update: momentum and decay schedules, LARC.

Rules of caffe-jacinto 0.17 (``sgd_solver.cpp``), of 0.16 for local_lr_auto; texts without these fields get BVLC's
numbers from the same functions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from caffecompat.schema import pb

__all__ = ["auto_rates", "check_schedules", "larc_rates", "momentum", "weight_decay"]


def check_schedules(param: pb.SolverParameter) -> list[str]:
    """What is wrong with a SolverParameter's momentum, decay and LARC policies; an empty list is good."""
    allowed = (
        ("momentum_policy", ("fixed", "poly", "opt")),
        ("weight_decay_policy", ("fixed", "poly")),
        ("larc_policy", ("scale", "clip")),
    )
    problems = [
        f"{field} {getattr(param, field)!r} is not one of {', '.join(values)}"
        for field, values in allowed
        if param.HasField(field) and getattr(param, field) not in values
    ]
    for field in ("larc", "local_lr_auto"):
        if getattr(param, field) and param.type != "SGD":
            problems.append(f"{field} works with SGD, not with {param.type}")
    if param.larc and param.local_lr_auto:
        problems.append("local_lr_auto and larc are two layer-wise rates; take one")
    return problems


def momentum(param: pb.SolverParameter, iteration: int, rate: float) -> float:
    """The momentum of an iteration under `momentum_policy`: fixed, poly (up to max_momentum), or opt."""
    if param.momentum_policy == "poly":
        grown = (iteration / param.max_iter) ** param.momentum_power
        return float(param.momentum + (param.max_momentum - param.momentum) * grown)
    if param.momentum_policy == "opt":
        best = (1 - 0.5 * math.sqrt(rate)) ** 2
        return float(min(best, param.max_momentum) if param.HasField("max_momentum") else best)
    return float(param.momentum)


def weight_decay(param: pb.SolverParameter, iteration: int) -> float:
    """The weight decay of an iteration under `weight_decay_policy`: fixed, or poly, which grows from 0."""
    if param.weight_decay_policy == "poly":
        return float(param.weight_decay * (iteration / param.max_iter) ** param.weight_decay_power)
    return float(param.weight_decay)


def auto_rates(param: pb.SolverParameter, rate: float, weights: list[Tensor], grads: list[Tensor]) -> list[Tensor]:
    """local_lr_auto's layer-wise rates (NVCaffe 0.16), in the place of rate * lr_mult.

    They are the rate times local_gw_ratio |w| / (|g| + weight_decay |w|), without decay_mult; the rate itself for a
    blob whose weights or gradient are all 0.

    Args:
        weights, grads: equal lists; the gradients not yet regularized, as the fork's GPU code has them there.
    """
    sizes = torch.stack(torch._foreach_norm(weights))
    slopes = torch.stack(torch._foreach_norm(grads))
    local = param.local_gw_ratio * sizes / (slopes + param.weight_decay * sizes)
    rates = rate * torch.where((sizes > 0) & (slopes > 0), local, torch.ones_like(local))
    return list(rates.unbind())


def larc_rates(param: pb.SolverParameter, rate: float, weights: list[Tensor], grads: list[Tensor]) -> list[Tensor]:
    """Layer-wise rates, which replace rate * lr_mult: eta |w| / |g| times the rate (scale), or at most the rate (clip).

    A blob whose weights or gradient are all 0 gets the rate itself.

    Args:
        weights, grads: equal lists; the gradients not yet regularized.
    """
    sizes = torch.stack(torch._foreach_norm(weights))
    slopes = torch.stack(torch._foreach_norm(grads))
    local = param.larc_eta * sizes / slopes
    trusted = rate * local if param.larc_policy == "scale" else local.clamp(max=rate)
    rates = torch.where((sizes > 0) & (slopes > 0), trusted, torch.full_like(local, rate))
    return list(rates.unbind())
