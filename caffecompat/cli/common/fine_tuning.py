"""Training as a step of another verb, with its progress on one line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from caffecompat.cli.common.progress import live_line

if TYPE_CHECKING:
    from caffecompat.solver import Solver

__all__ = ["fine_tune"]


def fine_tune(solver: Solver, args: argparse.Namespace, to_go_on: str = "") -> None:
    """Train to the end; a warning says where it was stopped before that, and what follows is of that iteration.

    Args:
        args: with ``progress``.
        to_go_on: how, for that warning; what names the solver state in it is ``{state}``.
    """
    from caffecompat import glog
    from caffecompat.solver.snapshot_files import snapshot_names

    with live_line(solver.param.max_iter, "iter", args.progress) as update:
        solver.observers.append(lambda s: update(s.iter, f"loss {s.smoothed_loss:.4g}"))
        solver.train()
    if solver.iter < solver.param.max_iter:
        more = f"; to go on: {to_go_on}".format(state=snapshot_names(solver.param, solver.iter)[1]) if to_go_on else ""
        glog.warning(
            f"training was stopped at iteration {solver.iter} of {solver.param.max_iter}; the fine-tuned net is of "
            f"that iteration{more}"
        )
