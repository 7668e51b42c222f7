"""Learning-rate policies: what Caffe's ``GetLearningRate`` returns at an iteration.

`multistep` and `plateau` remember how many steps they have taken; that count
lives in :class:`RateState`, which snapshots store as ``current_step``. All
other policies are functions of the iteration alone. BVLC defines all but
`plateau`, which is the SSD fork's, `multifixed`, which is Intel's, and `cosine` (or `cos`), which no Caffe has.

Two rises can come before a policy: NVCaffe's and Jacinto's ramp (`rampup_lr`, `rampup_interval`; the square of the
iteration) and Intel's warm-up (`warmup_start_lr`, `warmup_iter`; linear). After either, the policy counts iterations
from 0 as without it; `cosine` alone counts from the end of the warm-up. The floor `min_lr` is NVCaffe's and Jacinto's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.resumable import State
from caffecompat.schema import pb

__all__ = ["POLICIES", "RateState", "check_policy", "learning_rate"]


@dataclass
class RateState:
    """What a policy carries from one iteration to the next.

    `minimum_loss` and `iter_last_event` serve `plateau` (SSD Caffe stores them
    in the solverstate too).
    """

    current_step: int = 0
    minimum_loss: float = 1e38
    iter_last_event: int = 0

    def become(self, other: RateState) -> None:
        """Take over another one's values: those who hold this one see them."""
        self.current_step = other.current_step
        self.minimum_loss, self.iter_last_event = other.minimum_loss, other.iter_last_event

    def state(self) -> State:
        """Its values; Caffe's own state rounds the loss to float32."""
        return asdict(self)

    def restore(self, state: State) -> list[str]:
        """Take over such values."""
        self.become(RateState(**state))
        return []


def _fixed(param: pb.SolverParameter, iteration: int, state: RateState) -> float:
    return float(param.base_lr)


def _step(param: pb.SolverParameter, iteration: int, state: RateState) -> float:
    state.current_step = iteration // param.stepsize
    return float(param.base_lr * _power(param.gamma, state.current_step))


def _exp(param: pb.SolverParameter, iteration: int, state: RateState) -> float:
    return float(param.base_lr * _power(param.gamma, iteration))


def _inv(param: pb.SolverParameter, iteration: int, state: RateState) -> float:
    return float(param.base_lr * _power(1 + param.gamma * iteration, -param.power))


def _multistep(param: pb.SolverParameter, iteration: int, state: RateState) -> float:
    # At most one step an iteration, as in Caffe.
    if state.current_step < len(param.stepvalue) and iteration >= param.stepvalue[state.current_step]:
        state.current_step += 1
        glog.info(f"MultiStep Status: Iteration {iteration}, step = {state.current_step}", "sgd_solver.cpp:49")
    return float(param.base_lr * _power(param.gamma, state.current_step))


def _poly(param: pb.SolverParameter, iteration: int, state: RateState) -> float:
    # Past max_iter Caffe's power of a negative base is NaN; the schedule ends at zero.
    left = max(0.0, 1.0 - iteration / param.max_iter)
    # Jacinto's min_lr is what its polynomial ends at.
    return float((param.base_lr - param.min_lr) * _power(left, param.power) + param.min_lr)


def _sigmoid(param: pb.SolverParameter, iteration: int, state: RateState) -> float:
    exponent = -param.gamma * (iteration - param.stepsize)
    return float(param.base_lr / (1.0 + math.exp(min(exponent, 700.0))))


def _plateau(param: pb.SolverParameter, iteration: int, state: RateState) -> float:
    windows = param.plateau_winsize
    if state.current_step < len(windows) and iteration >= state.iter_last_event + windows[state.current_step]:
        state.current_step += 1
        state.iter_last_event = iteration
        glog.info(f"Plateau Status: Iteration {iteration}, step = {state.current_step}", "sgd_solver.cpp:80")
    return float(param.base_lr * _power(param.gamma, state.current_step))


def _multifixed(param: pb.SolverParameter, iteration: int, state: RateState) -> float:
    stages = zip(param.stageiter, param.stagelr, strict=True)
    return float(next((rate for last, rate in stages if iteration <= last), param.stagelr[-1]))


def _cosine(param: pb.SolverParameter, iteration: int, state: RateState) -> float:
    """Half a cosine from base_lr at the end of the warm-up to min_lr at max_iter, where it stays."""
    done = min(1.0, (iteration - param.warmup_iter) / (param.max_iter - param.warmup_iter))
    return float(param.min_lr + (param.base_lr - param.min_lr) * (1 + math.cos(math.pi * done)) / 2)


POLICIES: dict[str, Callable[[pb.SolverParameter, int, RateState], float]] = {
    "fixed": _fixed,
    "step": _step,
    "exp": _exp,
    "inv": _inv,
    "multistep": _multistep,
    "poly": _poly,
    "sigmoid": _sigmoid,
    "plateau": _plateau,
    "multifixed": _multifixed,
    "cosine": _cosine,
    "cos": _cosine,
}


def _power(base: float, exponent: float) -> float:
    try:
        return float(math.pow(base, exponent))
    except (OverflowError, ZeroDivisionError):
        return math.inf
    except ValueError:
        return math.nan


def check_policy(param: pb.SolverParameter) -> list[str]:
    """What a SolverParameter lacks for its policy; an empty list is good."""
    policy = param.lr_policy
    if policy not in POLICIES:
        known = ", ".join(POLICIES)
        return [
            f"lr_policy {policy!r} is not one of {known}" if policy else f"lr_policy is missing; it is one of {known}"
        ]
    problems = []
    if policy == "step" and param.stepsize <= 0:
        problems.append("lr_policy 'step' needs stepsize above 0")
    if policy in ("poly", "cosine", "cos") and not param.HasField("max_iter"):
        problems.append(f"lr_policy {policy!r} needs max_iter")
    elif policy in ("cosine", "cos") and param.max_iter <= param.warmup_iter:
        problems.append(
            f"lr_policy {policy!r} falls from warmup_iter to max_iter: warmup_iter {param.warmup_iter} must be less "
            f"than max_iter {param.max_iter}"
        )
    if policy in ("cosine", "cos") and param.min_lr > param.base_lr:
        problems.append(f"min_lr {param.min_lr:g}, where lr_policy {policy!r} ends, is above base_lr {param.base_lr:g}")
    if policy == "multifixed" and (not param.stagelr or len(param.stagelr) != len(param.stageiter)):
        counts = f"{len(param.stagelr)} and {len(param.stageiter)}"
        problems.append(f"lr_policy 'multifixed' needs as many stagelr as stageiter, at least one; there are {counts}")
    return problems


def learning_rate(param: pb.SolverParameter, iteration: int, state: RateState) -> float:
    """The rate before `iteration` (the number of updates done so far), before lr_mult.

    Args:
        param: a SolverParameter; absent numbers are 0, so `poly` without `power` is constant (as in Caffe).
        state: advanced by `multistep`, `step` and `plateau`.

    Raises:
        CaffeCompatError: the policy is unknown.
    """
    policy = POLICIES.get(param.lr_policy)
    if policy is None:
        raise CaffeCompatError(check_policy(param)[0])
    if iteration < param.rampup_interval:
        # The ramp bypasses the policy: multistep does not advance meanwhile.
        rise = (iteration / param.rampup_interval) ** 2
        rate = param.rampup_lr + (param.base_lr - param.rampup_lr) * rise
    elif iteration < param.warmup_iter:
        rise = iteration / param.warmup_iter
        return float(param.warmup_start_lr + (param.base_lr - param.warmup_start_lr) * rise)  # min_lr is no floor here
    else:
        rate = policy(param, iteration, state)
    return max(rate, param.min_lr) if param.HasField("min_lr") else rate
