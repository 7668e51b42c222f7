"""Curves of training logs: loss, accuracies, learning rate, or outputs of one's choice."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from caffecompat.report.log_parser import LogRow, TrainingLog, parse_log
from caffecompat.report.plots import PlotError, draw, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import ColorType

__all__ = ["Curve", "curve_names", "curve_panels", "draw_training_curves", "plot_logs"]

_ELEMENT = re.compile(r"^(.+)_\d+$")
_FEW = 6  # curves whose legend fits into their panel
_LEGEND_ROWS, _LEGEND_WIDTH = 26, 2.2  # of one column of a legend beside a panel; inches
_UNITS = ((2 * 3600.0, 3600.0, "hours"), (600.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))

Wanted = Callable[[str, LogRow | None], bool]


@dataclass
class Curve:
    """Points of one name; nan parts one run of the log from the next."""

    name: str
    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    run: int = 0
    dashed: bool = False

    def add(self, x: float, y: float, run: int) -> None:
        """Append a point; infinite values leave a gap."""
        if run != self.run and self.x:
            self.x.append(math.nan)
            self.y.append(math.nan)
        self.run = run
        self.x.append(x)
        self.y.append(y if math.isfinite(y) else math.nan)

    def smoothed(self, count: int) -> list[float]:
        """Each value's mean with the up to `count` - 1 before it in the same run; gaps do not count."""
        means: list[float] = []
        window: list[float] = []
        for x, y in zip(self.x, self.y, strict=True):
            if math.isnan(x):
                window = []
            elif not math.isnan(y):
                window = [*window, y][-count:]
            means.append(sum(window) / len(window) if window and not math.isnan(x) else math.nan)
        return means


def plot_logs(
    logs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    x: str = "iterations",
    y: Sequence[str] = (),
    smooth: int = 1,
    beside: bool = False,
) -> None:
    """Draw training logs: losses, accuracies and learning rate over iterations or seconds. Needs matplotlib.

    Args:
        logs: of any Caffe, as `parse_log` reads them; several are drawn into the same panels.
        out: .png, .svg or .pdf to write.
        x: "iterations" or "seconds".
        y: names of outputs, one panel each (the name of a vector means all its elements), or "smoothed loss", "learning
            rate", "speed" (iterations a second), "sparsity"; by default the losses, the other outputs and the rate.
        smooth: running means over that many displays.
        beside: a column a log, instead of all in the same panels.

    Raises:
        LogError: a log cannot be read.
        PlotError: no log has a name of `y`, a log is given twice, or matplotlib is missing or writes no such files.
        WriteError: `out` cannot be written.

    >>> import caffecompat
    >>> caffecompat.plot_logs("train.log", "curve.png", y=["loss"])
    """
    if x not in ("iterations", "seconds"):
        raise PlotError(f"x {x!r}: expected iterations or seconds")
    if smooth < 1:
        raise PlotError(f"smooth {smooth} must be at least 1")
    paths = [os.fspath(log) for log in ([logs] if isinstance(logs, (str, os.PathLike)) else logs)]
    require_matplotlib(os.fspath(out))
    parsed = {title: parse_log(path) for title, path in zip(_titles(paths), paths, strict=True)}
    draw_training_curves(out, parsed, x=x, y=y, smooth=smooth, beside=beside)


def _titles(paths: Sequence[str]) -> list[str]:
    """File names; with as much of their folders as makes them differ."""
    parts = [os.path.normpath(path).split(os.sep) for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        titles = ["/".join(part[-count:]) for part in parts]
        if len(set(titles)) == len(titles):
            return titles
    raise PlotError("a log is named twice")


def draw_training_curves(
    path: str | os.PathLike[str],
    logs: Mapping[str, TrainingLog],
    *,
    x: str = "iterations",
    y: Sequence[str] = (),
    smooth: int = 1,
    beside: bool = True,
) -> None:
    """Draw logs as PNG, SVG or PDF.

    Args:
        logs: title -> log.
        x: "iterations" or "seconds".
        y: names (see `curve_names`), one panel each, training and test rows together; none draws the losses, the
            other outputs (vectors left out) and the learning rate.
        smooth: draw running means over that many displays, the values themselves pale in the background; tests stay as
            they are.
        beside: a column a log; False draws all logs into the same panels.

    Raises:
        PlotError: no log has a name of `y`; matplotlib is not installed, or cannot write files of that kind.
        WriteError: the file cannot be written.
    """
    known = list(dict.fromkeys(name for log in logs.values() for name in curve_names(log)))
    panels = {name: [name] for name in y}
    for name in y:
        if not any(_asked(name, other) for other in known):
            raise PlotError(f"no log has {name!r} to draw; there are: {', '.join(known)}")
    rows = [curve_panels(log, x, panels) for log in logs.values()]
    titles = [title for title in rows[0] if any(curve.x for panel in rows for curve in panel[title])]

    columns = len(logs) if beside else 1
    shown = [sum(len(panel[title]) for panel in rows) // columns for title in titles]
    heights = [
        1 if title == "learning rate" and len(titles) > 1 else 5 if count > _FEW else 3
        for title, count in zip(titles, shown, strict=True)
    ]

    def paint(figure: Figure) -> None:
        # Panels of one row share their scale; columns have their own iterations.
        axes = figure.subplots(
            len(titles), columns, sharex="col", sharey="row", squeeze=False, height_ratios=heights
        )  # fmt: skip
        unit, label = _unit(x, rows)
        for column in range(columns):
            mine = {
                name: log for i, (name, log) in enumerate(zip(logs, rows, strict=True)) if not beside or i == column
            }
            for row, title in enumerate(titles):
                curves = [
                    (f"{name}: " if len(mine) > 1 else "", curve)
                    for name, panel in mine.items()
                    for curve in panel[title]
                ]
                colors = _colors(len(curves))
                for (prefix, curve), color in zip(curves, colors, strict=True):
                    _draw(axes[row][column], curve, prefix, unit, smooth, color)
                axes[row][column].grid(alpha=0.3)
                _add_legend(axes[row][column], len(curves))
                axes[row][0].set_ylabel(title)
            axes[0][column].set_title(next(iter(mine)) if len(mine) == 1 else "")
            axes[-1][column].set_xlabel(label)

    width = 5.0 * columns + 1 if columns > 1 else 8.0
    width += columns * _LEGEND_WIDTH * max((_legend_columns(count) for count in shown), default=0)
    draw(path, paint, (width, 0.8 * sum(heights) + 1.2))


def curve_names(log: TrainingLog) -> list[str]:
    """What can be asked for: the outputs, "smoothed loss", "learning rate", "speed", "sparsity"."""
    names = [*dict.fromkeys([*log.names(), *log.names(test=True)])]
    own = {
        "smoothed loss": any(not math.isnan(row.loss) for row in log.train),
        "learning rate": bool(log.train),
        "speed": any(not math.isnan(row.speed) for row in log.train),
        "sparsity": bool(log.sparsity),
    }
    return [*names, *(name for name, there in own.items() if there)]


def curve_panels(log: TrainingLog, x: str, asked: Mapping[str, Sequence[str]]) -> dict[str, list[Curve]]:
    """The curves of one log by panel: those asked for, or else loss, accuracy (vectors left out) and learning rate.

    Args:
        x: "iterations" or "seconds".
    """

    def only(title: str) -> Wanted:
        return lambda name, row: _asked(title, name)

    if asked:
        return {title: _collect(log, x, only(title)) for title in asked}

    def is_loss(name: str) -> bool:
        return name == "smoothed loss" or name in log.losses or "loss" in name.lower()

    vectors = {name for name in [*log.names(), *log.names(test=True)] if _ELEMENT.match(name)}
    single = len({name for row in log.train for name in row.values if is_loss(name)}) < 2

    def wanted(name: str, row: LogRow | None) -> bool:
        # The only loss of the training net is there smoothed already.
        return name not in vectors and not (single and row is not None and row.test_net is None and is_loss(name))

    return {
        "loss": _collect(log, x, lambda name, row: name == "smoothed loss" or (is_loss(name) and wanted(name, row))),
        "accuracy": _collect(log, x, lambda name, row: row is not None and not is_loss(name) and wanted(name, row)),
        "learning rate": _collect(log, x, lambda name, row: name == "learning rate"),
    }


def _asked(asked: str, name: str) -> bool:
    """Whether `asked` means that name: itself, or the vector whose element it is."""
    element = _ELEMENT.match(name)
    return asked == name or (element is not None and element[1] == asked)


def _collect(log: TrainingLog, x: str, wanted: Wanted) -> list[Curve]:
    """The curves whose (name, row) are wanted; the row is None for what is no output."""
    curves: dict[str, Curve] = {}
    for name, row, value in _points(log):
        output = name in row.values
        if not wanted(name, row if output else None):
            continue
        test = row.test_net is not None
        label = f"{'test' if test else 'training'} {name}" if output else name
        if test and row.test_net:
            label += f" (#{row.test_net})"
        curve = curves.setdefault(label, Curve(label, dashed=test))
        curve.add(row.seconds if x == "seconds" else row.iteration, value, row.run)
    return list(curves.values())


def _points(log: TrainingLog) -> Iterator[tuple[str, LogRow, float]]:
    for row in log.train:
        for name, value in (("smoothed loss", row.loss), ("learning rate", row.rate), ("speed", row.speed)):
            if not math.isnan(value):
                yield name, row, value
        for name, value in row.values.items():
            yield name, row, value
    for row in log.test:
        for name, value in row.values.items():
            yield name, row, value
    for iteration, seconds, share in log.sparsity:
        yield "sparsity", LogRow(iteration, seconds), share


def _unit(x: str, rows: Sequence[Mapping[str, Sequence[Curve]]]) -> tuple[float, str]:
    """What x values are divided by, and the axis' label."""
    if x != "seconds":
        return 1.0, "iteration"
    longest = max((v for panels in rows for c in panels.values() for curve in c for v in curve.x if v == v), default=0)
    _, unit, name = next(entry for entry in _UNITS if longest >= entry[0])
    return unit, f"{name} since the start"


def _colors(count: int) -> list[ColorType]:
    """A color for each of so many curves: matplotlib's ten, or as many different ones of a rainbow."""
    if count <= 10:
        return [f"C{index}" for index in range(count)]
    from matplotlib import colormaps

    return [colormaps["turbo"](0.04 + 0.92 * index / (count - 1)) for index in range(count)]


def _legend_columns(count: int) -> int:
    """Columns of a legend next to its panel; 0 where it has room in the panel."""
    return -(-count // _LEGEND_ROWS) if count > _FEW else 0


def _add_legend(axes: Axes, count: int) -> None:
    if not axes.lines:
        return
    columns = _legend_columns(count)
    if columns:
        axes.legend(fontsize="x-small", ncols=columns, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    else:
        axes.legend(fontsize="small")


def _draw(axes: Axes, curve: Curve, prefix: str, unit: float, smooth: int, color: ColorType) -> None:
    x = [value / unit for value in curve.x]
    marker = "o" if len(x) < 30 else None
    style = "--" if curve.dashed else "-"
    if smooth > 1 and not curve.dashed and len(x) > 2:
        (pale,) = axes.plot(x, curve.y, alpha=0.25, linewidth=1, color=color)
        axes.plot(x, curve.smoothed(smooth), color=pale.get_color(), label=prefix + curve.name)
    else:
        axes.plot(x, curve.y, style, marker=marker, markersize=3, label=prefix + curve.name, color=color)
