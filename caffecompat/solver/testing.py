"""One test of a solver: its test net over test_iter batches."""

from __future__ import annotations

from collections.abc import Callable

import torch

from caffecompat import glog
from caffecompat.forks import Fork
from caffecompat.net import Net
from caffecompat.schema import pb
from caffecompat.solver.outputs import make_tally

__all__ = ["run_test"]


@torch.no_grad()
def run_test(
    param: pb.SolverParameter, net: Net, batches: int, fork: Fork, interrupted: Callable[[], bool]
) -> dict[str, list[float]] | None:
    """Compute and log a test net's scores over that many batches; None when interrupted.

    Args:
        param: the SolverParameter, whose eval_type says what the scores are.
        fork: the fork whose rules of scoring hold.
        interrupted: asked before each batch whether to stop.
    """
    tally = make_tally(param, net, fork)
    loss = 0.0
    for _ in range(batches):
        if interrupted():
            glog.info("Test interrupted.", "solver.cpp:397")
            return None
        tops = net()
        if param.test_compute_loss:
            loss += float(net.loss(tops))
        tally.add(tops)
    if param.test_compute_loss and batches:
        glog.info(f"Test loss: {glog.number(loss / batches)}", "solver.cpp:403")
    tally.log()
    return tally.values()
