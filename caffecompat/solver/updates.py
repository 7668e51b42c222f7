"""Caffe's six update rules, each a few fused calls over a group of parameters.

Every rule takes lists of equal length: weights w, gradients g (already
regularised) and history slots, and one rate for the group. It overwrites the
history and returns the steps, which the caller subtracts from the weights
(Caffe leaves the step in the blob's diff, where ``snapshot_diff`` finds it).
Formulas: BVLC ``sgd_solver.cpp`` and its five siblings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError

__all__ = ["RULES", "Rule", "update_rule"]

Tensors = list[Tensor]
Slots = list[Tensors]


def _sgd(param: Any, rate: float, iteration: int, grads: Tensors, slots: Slots) -> Tensors:
    """h = m h + lr g; the step is h. The rate is inside the history, unlike torch's SGD."""
    (history,) = slots
    torch._foreach_mul_(history, float(param.momentum))
    torch._foreach_add_(history, grads, alpha=rate)
    return history


def _nesterov(param: Any, rate: float, iteration: int, grads: Tensors, slots: Slots) -> Tensors:
    """h' = m h + lr g; the step is (1 + m) h' - m h."""
    (history,) = slots
    momentum = float(param.momentum)
    steps = torch._foreach_mul(history, -momentum)
    torch._foreach_mul_(history, momentum)
    torch._foreach_add_(history, grads, alpha=rate)
    torch._foreach_add_(steps, history, alpha=1 + momentum)
    return list(steps)


def _adagrad(param: Any, rate: float, iteration: int, grads: Tensors, slots: Slots) -> Tensors:
    """h = h + g^2; the step is lr g / (sqrt(h) + delta)."""
    (history,) = slots
    torch._foreach_addcmul_(history, grads, grads)
    return _scaled_quotient(grads, history, param.delta, rate)


def _rmsprop(param: Any, rate: float, iteration: int, grads: Tensors, slots: Slots) -> Tensors:
    """h = rho h + (1 - rho) g^2; the step is lr g / (sqrt(h) + delta)."""
    (history,) = slots
    # The schema gives rms_decay no default because the forks differ; BVLC's is 0.99.
    decay = float(param.rms_decay) if param.HasField("rms_decay") else 0.99
    torch._foreach_mul_(history, decay)
    torch._foreach_addcmul_(history, grads, grads, value=1 - decay)
    return _scaled_quotient(grads, history, param.delta, rate)


def _adadelta(param: Any, rate: float, iteration: int, grads: Tensors, slots: Slots) -> Tensors:
    """h1 = m h1 + (1 - m) g^2; u = g sqrt((delta + h2) / (delta + h1)); h2 = m h2 + (1 - m) u^2; the step is lr u."""
    squares, updates = slots
    momentum, delta = float(param.momentum), float(param.delta)
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


def _adam(param: Any, rate: float, iteration: int, grads: Tensors, slots: Slots) -> Tensors:
    """M = b1 M + (1 - b1) g; V = b2 V + (1 - b2) g^2; the step is lr sqrt(1 - b2^t) / (1 - b1^t) M / (sqrt(V) + delta).

    t counts from 1; delta joins sqrt(V) before the bias correction, unlike torch's eps.
    """
    first, second = slots
    beta1, beta2 = float(param.momentum), float(param.momentum2)
    torch._foreach_mul_(first, beta1)
    torch._foreach_add_(first, grads, alpha=1 - beta1)
    torch._foreach_mul_(second, beta2)
    torch._foreach_addcmul_(second, grads, grads, value=1 - beta2)
    correction = math.sqrt(1 - beta2 ** (iteration + 1)) / (1 - beta1 ** (iteration + 1))
    return _scaled_quotient(first, second, param.delta, rate * correction)


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
    step: Callable[[Any, float, int, Tensors, Slots], Tensors]
    takes_momentum: bool = True


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("SGD", 1, _sgd),
        Rule("Nesterov", 1, _nesterov),
        Rule("AdaGrad", 1, _adagrad, takes_momentum=False),
        Rule("RMSProp", 1, _rmsprop, takes_momentum=False),
        Rule("AdaDelta", 2, _adadelta),
        Rule("Adam", 2, _adam),
    )
}


def update_rule(param: Any) -> Rule:
    """The rule that a SolverParameter's ``type`` names.

    Raises:
        CaffeCompatError: an unknown type, or momentum given to a rule that has none.
    """
    rule = RULES.get(param.type)
    if rule is None:
        raise CaffeCompatError(f"solver type {param.type!r} is not one of {', '.join(RULES)}")
    if param.momentum and not rule.takes_momentum:
        raise CaffeCompatError(f"momentum cannot be used with {rule.name}; remove 'momentum: {param.momentum:g}'")
    return rule
