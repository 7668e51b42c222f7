"""What a training run would be: layers, shapes, parameters, memory, schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffecompat.cli.common.net_table import layer_table, mib

if TYPE_CHECKING:
    from caffecompat.net.summary import NetSummary
    from caffecompat.schema import pb
    from caffecompat.solver import Solver

__all__ = ["print_plan"]


def print_plan(solver: Solver, resume: str | None) -> None:
    """Print the plan of a built solver to stdout."""
    from caffecompat.net.summary import summarize_net

    summary = summarize_net(solver.net)
    for line in [*layer_table(summary), "", *_totals(summary, solver, resume)]:
        print(line)


def _totals(summary: NetSummary, solver: Solver, resume: str | None) -> list[str]:
    from caffecompat.net.precision import precision_text

    param = solver.param
    slots = solver.updater.rule.slots + solver.averages.wanted
    lines = [
        f"parameters   {summary.parameters:,} ({summary.trained:,} trained, "
        f"{summary.parameters - summary.trained:,} with lr_mult 0)",
        f"memory       {mib(summary.activations * 2)} activations and their gradients a pass, "
        f"{mib(summary.parameters * (2 + slots))} weights, gradients and {param.type} history"
        f"{' and averages' if solver.averages.wanted else ''}",
        f"solver       {param.type}, {param.lr_policy} from base_lr {param.base_lr:g}, weight_decay "
        f"{param.weight_decay:g} {param.regularization_type}, iter_size {param.iter_size}, {param.max_iter} iterations",
        f"device       {solver.device}",
        f"snapshots    {_snapshots(param)}",
    ]
    types = precision_text(solver.net.layers, solver.device)
    if types:
        scale = solver.loss_scale
        lines.append(f"precision    {types}; loss scale {scale.value:g}{', then as needed' if scale.changes else ''}")
    if solver.epochs is not None:
        lines.append(f"data         {solver.epochs.describe(param.max_iter)}")
    if resume:
        lines.append(f"resume       {resume}")
    return lines


def _snapshots(param: pb.SolverParameter) -> str:
    every = f"every {param.snapshot} iterations" if param.snapshot else "none in between"
    kept = f"; the newest {param.snapshot_keep} stay" if param.snapshot_keep else ""
    best = f"; {param.snapshot_prefix}_best: {param.snapshot_best}" if param.snapshot_best else ""
    return (
        f"{param.snapshot_prefix}_iter_N, {every}{', and at the end' if param.snapshot_after_train else ''}{kept}{best}"
    )
