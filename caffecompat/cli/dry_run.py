"""What a training run would be: layers, shapes, parameters, memory, schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caffecompat.solver import Solver

__all__ = ["print_plan"]


def print_plan(solver: Solver, resume: str | None) -> None:
    """Print the plan of a built solver to stdout."""
    net = solver.net
    rows = [("layer", "type", "tops", "parameters")]
    for layer in net.layers:
        tops = "  ".join(f"{top} {'x'.join(map(str, net.blob_shapes[top])) or '1'}" for top in layer.tops)
        blobs = layer.module.blobs if layer.module is not None else []
        count = sum(blob.numel() for blob in blobs)
        rows.append((layer.name, layer.type, tops, f"{count:,}" if count else ""))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + f"  {row[3]:>12}")
    print()
    for line in _totals(solver, resume):
        print(line)


def _totals(solver: Solver, resume: str | None) -> list[str]:
    net, param = solver.net, solver.param
    learned = sum(p.blob.numel() for p in net.params if p.lr_mult)
    frozen = sum(p.blob.numel() for p in net.params if not p.lr_mult)
    activations = sum(math.prod(shape) for shape in net.blob_shapes.values())
    slots = solver.updater.rule.slots
    lines = [
        f"parameters   {learned + frozen:,} ({learned:,} trained, {frozen:,} with lr_mult 0)",
        f"memory       {_mib(activations * 2)} activations and their gradients a pass, "
        f"{_mib((learned + frozen) * (2 + slots))} weights, gradients and {param.type} history",
        f"solver       {param.type}, {param.lr_policy} from base_lr {param.base_lr:g}, weight_decay "
        f"{param.weight_decay:g} {param.regularization_type}, iter_size {param.iter_size}, {param.max_iter} iterations",
        f"device       {solver.device}",
        f"snapshots    {_snapshots(param)}",
    ]
    if resume:
        lines.append(f"resume       {resume}")
    return lines


def _snapshots(param: Any) -> str:
    every = f"every {param.snapshot} iterations" if param.snapshot else "none in between"
    return f"{param.snapshot_prefix}_iter_N, {every}{', and at the end' if param.snapshot_after_train else ''}"


def _mib(floats: int) -> str:
    return f"{floats * 4 / 2**20:,.1f} MiB"
