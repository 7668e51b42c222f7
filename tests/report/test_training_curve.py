"""Curves of training logs."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from caffecompat.report.log_parser import LogRow, TrainingLog, parse_lines, parse_log
from caffecompat.report.plots import PlotError
from caffecompat.report.training_curve import Curve, curve_names, draw_training_curves

pytest.importorskip("matplotlib")


def texts(svg: Path) -> set[str]:
    """The texts of a matplotlib SVG, which stand in comments beside their outlines."""
    return {text.strip() for text in re.findall(r"<!--(.*?)-->", svg.read_text())}


def test_losses_accuracies_and_the_rate(golden: Path, tmp_path: Path) -> None:
    out = tmp_path / "curve.svg"
    draw_training_curves(out, {"run": parse_log(golden / "cli/train.log")}, smooth=3)
    drawn = texts(out)
    assert {"smoothed loss", "training l2", "training loss", "test l2", "test loss"} <= drawn
    assert {"test accuracy", "test top3", "learning rate", "iteration", "run"} <= drawn


def test_several_logs_in_one_panel_over_seconds(golden: Path, tmp_path: Path) -> None:
    logs = {name: parse_log(golden / f"cli/{name}.log") for name in ("train", "resume")}
    draw_training_curves(tmp_path / "a.svg", logs, x="seconds", y=["top3", "smoothed loss"], beside=False)
    drawn = texts(tmp_path / "a.svg")
    assert {"train: test top3", "resume: test top3", "train: smoothed loss", "seconds since the start"} <= drawn
    assert not any("accuracy" in text or "learning rate" in text for text in drawn)
    draw_training_curves(tmp_path / "b.png", logs, beside=True)
    assert (tmp_path / "b.png").read_bytes()[1:4] == b"PNG"


def test_vectors_are_drawn_when_asked_for(tmp_path: Path) -> None:
    prefix = "I0706 10:00:00.000000  1 solver.cpp:1]"
    text = []
    for iteration in (0, 10):
        text.append(f"{prefix} Iteration {iteration}, loss = {'inf' if iteration else 2}")
        text += [f"{prefix}     Train net output #{i}: per_acc = 0.{i}" for i in range(3)]
    log = parse_lines(text)
    assert curve_names(log) == ["per_acc_0", "per_acc_1", "per_acc_2", "smoothed loss", "learning rate"]
    draw_training_curves(tmp_path / "a.svg", {"x": log})
    assert not any("per_acc" in text for text in texts(tmp_path / "a.svg"))
    draw_training_curves(tmp_path / "a.svg", {"x": log}, y=["per_acc"])
    assert {f"training per_acc_{i}" for i in range(3)} <= texts(tmp_path / "a.svg")
    with pytest.raises(PlotError, match=r"no log has 'mIoU' to draw; there are: per_acc_0, .*learning rate"):
        draw_training_curves(tmp_path / "a.svg", {"x": log}, y=["mIoU"])


def test_running_means_know_runs_and_gaps() -> None:
    curve = Curve("loss")
    for x, y, run in ((0, 4.0, 0), (1, math.inf, 0), (2, 2.0, 0), (3, 6.0, 0), (0, 8.0, 1)):
        curve.add(x, y, run)
    assert curve.smoothed(2) == pytest.approx([4, 4, 3, 4, math.nan, 8], nan_ok=True)


def test_the_same_log_gives_the_same_file(golden: Path, tmp_path: Path) -> None:
    log = parse_log(golden / "cli/train.log")
    for name in ("a.svg", "b.svg"):
        draw_training_curves(tmp_path / name, {"run": log})
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("count", [3, 19, 100])
@pytest.mark.parametrize("beside", [True, False])
def test_many_curves_stay_apart_from_their_legends(
    count: int, beside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        LogRow(
            iteration,
            float(iteration),
            values={f"iou_{k}": (k + iteration % 3) / count for k in range(count)},
            test_net=0,
        )
        for iteration in range(0, 500, 100)
    ]
    log = TrainingLog(train=[], test=rows)
    figures = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, *args, **kwargs: figures.append(figure))
    draw_training_curves(tmp_path / "many.png", {"a": log, "b": log}, y=["iou"], beside=beside)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_hex

    (figure,) = figures
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    panels = [axes.get_window_extent(renderer) for axes in figure.axes]
    for axes in figure.axes:
        legend = axes.get_legend().get_window_extent(renderer)
        assert figure.bbox.x0 <= legend.x0 and legend.x1 <= figure.bbox.x1 and figure.bbox.y0 <= legend.y0
        if len(axes.lines) > 6:
            assert not any(legend.overlaps(panel) for panel in panels)
        assert len({to_hex(line.get_color()) for line in axes.lines}) == len(axes.lines)
    assert all(panel.width > 250 and panel.height > 150 for panel in panels)
