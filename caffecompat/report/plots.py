"""Curves as PNG, SVG or PDF, drawn with matplotlib (the extra ``plot``)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from caffecompat.errors import CaffeCompatError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from caffecompat.quantize.layer_noise import LayerNoise

__all__ = ["PlotError", "draw", "noise_bars", "require_matplotlib", "score_curve"]

Series = Mapping[str, Sequence[tuple[float, float]]]


class PlotError(CaffeCompatError):
    """A curve cannot be drawn."""


def require_matplotlib(path: str | os.PathLike[str] | None = None) -> type[Figure]:
    """matplotlib's Figure class; asked for before long work, so that its absence is not found after it.

    Args:
        path: where the plot will go, to check the kind of file.

    Raises:
        PlotError: matplotlib is not installed, or cannot write files of that kind.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PlotError("curves need matplotlib: pip install 'caffecompat[plot]'") from None
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = FigureCanvasBase.get_supported_filetypes()
    kind = os.path.splitext(os.fspath(path or "x.png"))[1].lstrip(".").lower()
    if kind not in kinds:
        raise PlotError(f"{path}: a plot's name ends in .png, .svg or .pdf")
    return Figure


def draw(path: str | os.PathLike[str], paint: Callable[[Figure], None], size: tuple[float, float] = (8, 4.5)) -> None:
    """Make a figure, let `paint` fill it, and write it atomically.

    Raises:
        PlotError: matplotlib is not installed, or cannot write files of that kind.
        WriteError: the file cannot be written.
    """
    from caffecompat.formats.atomic import atomic_write

    figure = require_matplotlib(path)(figsize=size, layout="constrained")
    paint(figure)
    kind = os.path.splitext(os.fspath(path))[1].lstrip(".").lower()
    with atomic_write(path) as file, _same_bytes():
        figure.savefig(file, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)


@contextmanager
def _same_bytes() -> Iterator[None]:
    """SVG ids from a fixed salt: the same curve gives the same file."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "caffecompat"}):
        yield


def score_curve(path: str | os.PathLike[str], series: Series, title: str = "") -> None:
    """Scores against iterations, the best point of the first series marked.

    Args:
        series: name -> (iteration, score) points.
    """

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for name, points in series.items():
            axes.plot([x for x, _ in points], [y for _, y in points], marker="o", markersize=3, label=name)
        best = max(next(iter(series.values())), key=lambda point: point[1])
        axes.annotate(f"{best[1]:.4f} at {best[0]:g}", best, textcoords="offset points", xytext=(0, 8), ha="center")
        axes.margins(y=0.15)
        axes.set(xlabel="iteration", ylabel="score", title=title)
        axes.grid(alpha=0.3)
        axes.legend()

    draw(path, paint)


def noise_bars(path: str | os.PathLike[str], layers: Sequence[LayerNoise], title: str = "") -> None:
    """Signal-to-noise ratios of a quantized net's layers in the order given, the saturated shares next to them."""

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
        rows = range(len(layers))
        for label, values, height in (
            ("up to here", [one.ratio for one in layers], 0.8),
            ("this activation alone", [one.own for one in layers], 0.4),
        ):
            left.barh(rows, [value if math.isfinite(value) else 0 for value in values], height, label=label)
        left.set(xlabel="signal to noise, dB", title=title)
        left.set_yticks(rows, [one.layer for one in layers], fontsize=7)
        left.invert_yaxis()
        left.legend(fontsize=8)
        right.barh(rows, [100 * one.saturated for one in layers], 0.8, color="tab:red")
        right.set(xlabel="saturated, %")
        for axes in (left, right):
            axes.grid(axis="x", alpha=0.3)

    draw(path, paint, (9, 1.5 + 0.18 * len(layers)))
