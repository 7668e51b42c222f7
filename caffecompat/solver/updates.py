"""Caffe's six update rules, each a few fused calls over a group of parameters.

Every rule takes lists of equal length: weights w, gradients g (already
regularized) and history slots, and one rate for the group. It overwrites the
history and returns the steps, which the caller subtracts from the weights
(Caffe leaves the step in the blob's diff, where ``snapshot_diff`` finds it).
Formulas: BVLC ``sgd_solver.cpp`` and its five siblings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError
from caffecompat.schema import pb

__all__ = ["RULES", "Numbers", "Rule", "check_rule", "update_rule"]

Tensors = list[Tensor]
Slots = list[Tensors]


@dataclass(frozen=True)
class Numbers:
    """What the rules take besides the rate: `momentum` is Adam's beta1 and AdaDelta's decay, `momentum2` beta2."""

    momentum: float = 0.0
    momentum2: float = 0.999
    delta: float = 1e-8
    rms_decay: float = 0.99


def _sgd(numbers: Numbers, rate: float, iteration: int, grads: Tensors, slots: Slots) -> Tensors:
    """h = m h + lr g; the step is h. The rate is inside the history, unlike torch's SGD."""
    (history,) = slots
    torch._foreach_mul_(history, numbers.momentum)
    torch._foreach_add_(history, grads, alpha=rate)
    return history


def _nesterov(numbers: Numbers, rate: float, iteration: int, grads: Tensors, slots: Slots) -> Tensors:
    """h' = m h + lr g; the step is (1 + m) h' - m h."""
    (history,) = slots
    momentum = numbers.momentum
    steps = torch._foreach_mul(history, -momentum)
    torch._foreach_mul_(history, momentum)
    torch._foreach_add_(history, grads, alpha=rate)
    torch._foreach_add_(steps, history, alpha=1 + momentum)
    return list(steps)


def _adagrad(numbers: Numbers, rate: float, iteration: int, grads: Tensors, slots: Slots) -> Tensors:
    """h = h + g^2; the step is lr g / (sqrt(h) + delta)."""
    (history,) = slots
    torch._foreach_addcmul_(history, grads, grads)
    return _scaled_quotient(grads, history, numbers.delta, rate)


def _rmsprop(numbers: Numbers, rate: float, iteration: int, grads: Tensors, slots: Slots) -> Tensors:
    """h = rho h + (1 - rho) g^2; the step is lr g / (sqrt(h) + delta)."""
    (history,) = slots
    torch._foreach_mul_(history, numbers.rms_decay)
    torch._foreach_addcmul_(history, grads, grads, value=1 - numbers.rms_decay)
    return _scaled_quotient(grads, history, numbers.delta, rate)


def _adadelta(numbers: Numbers, rate: float, iteration: int, grads: Tensors, slots: Slots) -> Tensors:
    """h1 = m h1 + (1 - m) g^2; u = g sqrt((delta + h2) / (delta + h1)); h2 = m h2 + (1 - m) u^2; the step is lr u."""
    squares, updates = slots
    momentum, delta = numbers.momentum, numbers.delta
    torch._foreach_mul_(squares, momentum)
    torch._foreach_addcmul_(squares, grads, grads, value=1 - momentum)
    steps = torch._foreach_add(updates, delta)
    torch._foreach_div_(steps, torch._foreach_add(squares, delta))
    torch._foreach_sqrt_(steps)
    torch._foreach_mul_(steps, grads)
    torch._foreach_mul_(updates, momentum)
    torch._foreach_addcmul_(updates, steps, steps, value=1 - momentum)
    torch._foreach_mul_(steps, rate)
    return list(steps)


def _adam(numbers: Numbers, rate: float, iteration: int, grads: Tensors, slots: Slots) -> Tensors:
    """M = b1 M + (1 - b1) g; V = b2 V + (1 - b2) g^2; the step is lr sqrt(1 - b2^t) / (1 - b1^t) M / (sqrt(V) + delta).

    t counts from 1; delta joins sqrt(V) before the bias correction, unlike torch's eps.
    """
    first, second = slots
    beta1, beta2 = numbers.momentum, numbers.momentum2
    torch._foreach_mul_(first, beta1)
    torch._foreach_add_(first, grads, alpha=1 - beta1)
    torch._foreach_mul_(second, beta2)
    torch._foreach_addcmul_(second, grads, grads, value=1 - beta2)
    try:
        correction = math.sqrt(1 - beta2 ** (iteration + 1)) / (1 - beta1 ** (iteration + 1))
    except (ArithmeticError, ValueError):  # momenta of 1 and above, of which C's division makes inf or nan
        correction = math.nan
    return _scaled_quotient(first, second, numbers.delta, rate * correction)


def _scaled_quotient(numerators: Tensors, squares: Tensors, delta: float, rate: float) -> Tensors:
    """rate * numerator / (sqrt(square) + delta)."""
    steps = torch._foreach_sqrt(squares)
    torch._foreach_add_(steps, float(delta))
    torch._foreach_reciprocal_(steps)
    torch._foreach_mul_(steps, numerators)
    torch._foreach_mul_(steps, rate)
    return list(steps)


@dataclass(frozen=True)
class Rule:
    """One solver type: its name in ``type``, how many history blobs a parameter has, and its step."""

    name: str
    slots: int
    step: Callable[[Numbers, float, int, Tensors, Slots], Tensors]
    takes_momentum: bool = True
    least_delta: float = 0.0  # NVCaffe's and Jacinto's floor under delta


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("SGD", 1, _sgd),
        Rule("Nesterov", 1, _nesterov),
        Rule("AdaGrad", 1, _adagrad, takes_momentum=False, least_delta=1e-3),
        Rule("RMSProp", 1, _rmsprop, takes_momentum=False, least_delta=1e-4),
        Rule("AdaDelta", 2, _adadelta, least_delta=1e-3),
        Rule("Adam", 2, _adam, least_delta=1e-4),
    )
}


def update_rule(param: pb.SolverParameter) -> Rule:
    """The rule that a SolverParameter's ``type`` names.

    Raises:
        CaffeCompatError: an unknown type, or momentum given to a rule that has none.
    """
    for problem in check_rule(param):
        raise CaffeCompatError(problem)
    return RULES[param.type]


def check_rule(param: pb.SolverParameter) -> list[str]:
    """What is wrong with a SolverParameter's ``type``; an empty list is good."""
    rule = RULES.get(param.type)
    if rule is None:
        return [f"type {param.type!r} is not one of {', '.join(RULES)}"]
    if param.momentum and not rule.takes_momentum:
        return [f"momentum cannot be used with {rule.name}; remove 'momentum: {param.momentum:g}'"]
    return []
