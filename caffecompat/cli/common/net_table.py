"""A net as a table: layers, shapes, parameters, multiply-accumulates, and the totals below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caffecompat.net.summary import NetSummary

__all__ = ["layer_table", "mega", "mib", "shape_text", "total_lines"]


def shape_text(shape: Sequence[int]) -> str:
    """(1, 3, 224, 224) as 1x3x224x224; a scalar as 1."""
    return "x".join(map(str, shape)) or "1"


def layer_table(summary: NetSummary, *, zeros: bool = False) -> list[str]:
    """A line a layer: name, type, tops with shapes, parameters, MACs of one input.

    Args:
        zeros: also the share of parameters that are 0, and the MACs whose weight is not.
    """
    head = ["layer", "type", "tops", "parameters", "MACs (M)", *(["zeros", "effective (M)"] if zeros else [])]
    rows = [head]
    for layer in summary.layers:
        tops = "  ".join(f"{blob} {shape_text(shape)}" for blob, shape in layer.tops)
        count = f"{layer.parameters:,}" if layer.parameters else f"({layer.shared:,} shared)" if layer.shared else ""
        row = [layer.name, layer.type, tops, count, mega(layer.macs / summary.batch) if layer.macs else ""]
        if zeros:
            row.append(f"{layer.zeros / layer.parameters:.1%}" if layer.parameters else "")
            row.append(mega(layer.effective_macs / summary.batch) if layer.macs else "")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([
            *(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=False)),
            *(cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)),
        ]).rstrip()
        for row in rows
    ]  # fmt: skip


def total_lines(summary: NetSummary) -> list[str]:
    """Parameters, MACs, memory and how much of the input the last pixels see."""
    inputs = ", ".join(f"{blob} {shape_text(shape)}" for blob, shape in summary.inputs) or "none"
    outputs = ", ".join(f"{blob} {shape_text(shape)}" for blob, shape in summary.outputs) or "none"
    frozen = summary.parameters - summary.trained
    of_batch = f" of one input (x {summary.batch} in the batch)" if summary.batch > 1 else ""
    counts = summary.macs_by_type
    lines = [
        f"net          {summary.name or '(no name)'}, phase {'TRAIN' if summary.phase == 0 else 'TEST'}, "
        f"{len(summary.layers)} layers",
        f"inputs       {inputs}",
        f"outputs      {outputs}",
        f"parameters   {summary.parameters:,}" + (f" ({summary.trained:,} trained, {frozen:,} not)" if frozen else ""),
        f"MACs         {mega(summary.macs)} M{of_batch}",
    ]
    lines += [f"             {mega(count):>12} M  {kind}" for kind, count in counts.items()]
    if summary.elementwise:
        lines.append(
            f"             value by value, not in the total: {mega(summary.elementwise)} M "
            f"({', '.join(kind for kind in counts if kind in _elementwise())}); deployment folds most of them away"
        )
    lines.append(
        f"memory       {mib(summary.parameters)} parameters, {mib(summary.activations)} all blobs, "
        f"{mib(summary.peak)} the most at once when nothing is kept (32-bit floats)"
    )
    return [*lines, *_view(summary)]


def _elementwise() -> frozenset[str]:
    from caffecompat.net.summary import ELEMENTWISE

    return ELEMENTWISE


def _view(summary: NetSummary) -> list[str]:
    """The receptive field of the last layer that still has pixels."""
    for layer in reversed(summary.layers):
        if layer.field is None or not layer.bottoms or len(layer.tops[0][1] if layer.tops else ()) != 4:
            continue
        stride = "x".join(f"{step:g}" for step in layer.field.stride)
        size = "the whole input" if layer.field.size is None else f"{shape_text(layer.field.size)} pixels"
        return [f"view         a value of {layer.tops[0][0]} sees {size} (height x width), {stride} apart"]
    return []


def mega(count: float) -> str:
    """Millions with three decimals."""
    return f"{count / 1e6:,.3f}"


def mib(values: int) -> str:
    """Memory of that many 32-bit floats."""
    return f"{values * 4 / 2**20:,.1f} MiB"
