"""Tables of a net's zeros: by layer, and of both ways to thin at the same targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffecompat.cli.common.net_table import mega
from caffecompat.wording import few

if TYPE_CHECKING:
    from caffecompat.quantize.sparsify import LayerSparsity, Sparsity
    from caffecompat.report.sparsity_curve import SparsityCurve, SparsityPoint

__all__ = ["comparison_table", "layer_zeros_table", "total_zeros"]


def layer_zeros_table(done: Sparsity) -> list[str]:
    """Lines of a table: zeros of each layer, thresholds, and multiply-accumulates whose weight is not 0."""
    width = max(len("layer"), *(len(layer.name) for layer in done.layers)) if done.layers else 5
    head = f"{'layer':<{width}}  {'weights':>10}  {'zeros':>10}  {'share':>6}  {'before':>6}  {'limit':>6}  "
    lines = [head + f"{'threshold':>19}  {'empty':>9}  {'M MACs':>9}  {'effective':>9}"]
    for layer in done.layers:
        limit = "-" if layer.limit is None else f"{layer.limit:.4f}"
        lines.append(
            f"{layer.name:<{width}}  {layer.weights:>10}  {layer.zeros:>10}  {layer.share:>6.4f}  "
            f"{layer.zeros_before / layer.weights:>6.4f}  {limit:>6}  {_thresholds(layer):>19}  "
            f"{f'{layer.empty}/{layer.outputs}':>9}  {mega(layer.macs):>9}  {mega(layer.effective_macs):>9}"
            + ("" if layer.counted else "  not counted")
            + (f"  shared with {few(layer.shared_with, 4)}" if layer.shared_with else "")
        )
    lines.append("limit: the most zeros allowed, - where a layer is left alone; empty: outputs whose weights are all 0")
    return lines


def _thresholds(layer: LayerSparsity) -> str:
    if layer.thresholds is None:
        return "-"
    least, most = layer.thresholds
    return f"{least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"


def total_zeros(done: Sparsity) -> list[str]:
    """Lines about the whole net, and about a target that was not reached."""
    before = done.zeros_before / max(1, done.weights)
    lines = [
        f"zeros      {done.zeros} of {done.weights} weights, {done.share:.4f} (before: {before:.4f})",
        f"effective  {mega(done.effective_macs)} of {mega(done.macs)} M MACs have a weight that is not 0 "
        f"(before: {mega(done.effective_macs_before)})",
    ]
    if not done.reached:
        lines.append(
            f"target     {done.target:g} was not reached: layers that are left alone, limits and the largest "
            "thresholds allow no more"
        )
    return lines


def comparison_table(curve: SparsityCurve) -> list[str]:
    """Lines of a table: a row for each target, the columns of each mode, and how much better the last mode is."""
    modes, last = curve.modes, f"  {'difference':>10}" if len(curve.modes) > 1 else ""
    columns = "".join(f"  {mode + '-wise zeros':>18}  {'M MACs':>9}  {curve.score:>12}" for mode in modes)
    lines = [f"{'target':>6}{columns}{last}", f"{'before':>6}{_columns(curve, curve.before) * len(modes)}"]
    for target in curve.targets:
        points = [curve.at(target, mode) for mode in modes]
        gain = points[-1].scores[curve.score] - points[0].scores[curve.score]
        row = "".join(_columns(curve, point) for point in points)
        lines.append(f"{target:>6g}{row}" + (f"  {gain:>+10.4f}" if last else ""))
    if any(not point.sparsity.reached for point in curve.points):
        lines.append("zeros below the target: layers that are left alone and limits allow no more")
    return lines


def _columns(curve: SparsityCurve, point: SparsityPoint) -> str:
    return (
        f"  {point.sparsity.share:>18.4f}  {mega(point.sparsity.effective_macs):>9}  {point.scores[curve.score]:>12.4f}"
    )
