"""A solver's settings that no training can follow: numbers out of range, unknown policies; each with its place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from caffecompat.errors import CaffeCompatError
from caffecompat.schema import pb, solver_locations
from caffecompat.schema.odd_numbers import odd_numbers
from caffecompat.solver.jacinto import check_schedules
from caffecompat.solver.lr_policy import check_policy
from caffecompat.solver.outputs import check_eval
from caffecompat.solver.retention import check_retention
from caffecompat.solver.updates import check_rule

__all__ = ["check_settings", "setting_place"]

# The least value of each, where BVLC checks it (average_loss, test_interval) or its arithmetic needs it.
_LEAST = {
    "iter_size": 1, "average_loss": 1, "max_iter": 0, "test_iter": 0, "test_interval": 0, "snapshot_keep": 0,
    "test_and_snapshot_last_epochs": 0, "warmup_iter": 0, "rampup_interval": 0,
}  # fmt: skip


def check_settings(param: pb.SolverParameter, path: str | None, overrides: Sequence[str]) -> None:
    """Make sure that a SolverParameter can be followed.

    Args:
        path: the file that it was read from, for places in messages; None where there is none.
        overrides: the ``NAME=VALUE`` settings that changed it.

    Raises:
        CaffeCompatError: it cannot; every problem at once, each with its place.
    """
    problems = list(_out_of_range(param))
    texts = check_policy(param) + check_schedules(param) + check_eval(param) + check_retention(param)
    texts += check_rule(param)
    problems += [(text.split()[0], 0, text) for text in texts]  # each begins with the field
    if not problems:
        return
    lines = [f"{setting_place(field, path, overrides, index)}: {text}" for field, index, text in problems]
    raise CaffeCompatError("\n".join(lines))


def setting_place(field: str, path: str | None, overrides: Sequence[str], index: int = 0) -> str:
    """Where an entry of a solver's field was set, for messages; the arguments are those of `check_settings`."""
    changed = [setting for setting in overrides if setting.partition("=")[0] == field]
    if changed:
        return f"--set {changed[-1]}"
    return solver_locations(path).where(field, index) if path is not None else "solver"


def _out_of_range(param: pb.SolverParameter) -> Iterator[tuple[str, int, str]]:
    """Field, entry and what is wrong with it."""
    for field, least in _LEAST.items():
        value = getattr(param, field)
        for index, number in enumerate([value] if isinstance(value, int) else value):
            if number < least:
                yield field, index, f"{field} must be at least {least}, it is {number}"
    unlimited = param.clip_gradients == math.inf
    for field, text in odd_numbers(param):
        nets_own = "." in field  # judged where the net is made
        if not (nets_own or field == "ema_decay" or (field == "clip_gradients" and unlimited)):
            yield field, 0, text
    if not 0 <= param.ema_decay < 1:
        yield "ema_decay", 0, f"ema_decay must be at least 0 and less than 1, it is {param.ema_decay:g}"
