"""What a demo ends with: pictures, the table of scores, and the commands to try next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from caffecompat.cli.demo.plan import Stage

__all__ = ["draw_curve", "draw_predictions", "next_commands", "read_scores", "score_table"]

Scores = Mapping[str, Mapping[str, Any]]


def read_scores(out: Path, stages: Sequence[Stage]) -> dict[str, dict[str, Any]]:
    """The scores of the stages, by their titles."""
    return {stage.title: json.loads((out / stage.scores).read_text()) for stage in stages}


def _headings(stages: Sequence[Stage], scores: Scores) -> list[str]:
    return [f"{stage.title}: mIoU {scores[stage.title]['miou']:.3f}" for stage in stages]


def draw_predictions(out: Path, stages: Sequence[Stage], scores: Scores, pictures: Sequence[str]) -> None:
    """Write predictions.png: pictures, their labels, and what each stage says, under its score."""
    from caffecompat.formats.atomic import atomic_write
    from caffecompat.formats.picture import encode_picture, read_picture
    from caffecompat.report.comparison import comparison
    from caffecompat.report.palette import load_palette

    palette = load_palette(str(out / "data/palette.txt"))
    rows = []
    for picture in pictures:
        stem = Path(picture).stem
        labels = read_picture(out / f"data/val/{stem}_labels.png", color=False)
        drawn = [read_picture(out / f"segmented{stage.suffix}/{stem}_colors.png") for stage in stages]
        shown = [read_picture(out / picture), None if labels is None else palette.paint(labels[:, :, 0]), *drawn]
        rows.append(([one for one in shown if one is not None], picture))
    titles = ("picture", "labels (pale: ignored)", *_headings(stages, scores))
    with atomic_write(out / "predictions.png") as file:
        file.write(encode_picture(comparison(rows, titles, palette, size=320), "png") or b"")


def draw_curve(out: Path, stages: Sequence[Stage], scores: Scores) -> None:
    """Write training_curve.png.

    Raises:
        PlotError: matplotlib is not installed.
    """
    from caffecompat.report.log_parser import parse_log
    from caffecompat.report.training_curve import draw_training_curves

    logs = {title: parse_log(out / stage.log) for title, stage in zip(_headings(stages, scores), stages, strict=True)}
    draw_training_curves(out / "training_curve.png", logs)


def score_table(results: Scores) -> list[str]:
    """The scores of the stages side by side; `results` by the stage's title."""

    def row(name: str, values: Sequence[float | None]) -> str:
        cells = ["-" if value is None else f"{value:.4f}" for value in values]
        return f"{name:<14}" + "".join(f"  {cell:>9}" for cell in cells)

    scores = list(results.values())
    lines = ["", f"{'IoU':<14}" + "".join(f"  {title:>9}" for title in results)]
    for classes in zip(*(score["classes"] for score in scores), strict=True):
        lines.append(row(classes[0]["name"], [one["iou"] for one in classes]))
    lines.append("")
    for name, key in (("mIoU", "miou"), ("pixel accuracy", "pixel_accuracy"), ("guessing, mIoU", "chance_miou")):
        lines.append(row(name, [score[key] for score in scores]))
    return lines


def next_commands(out: Path, stage: Stage) -> list[str]:
    """What to try next: with the demo's net from where the user is, then with data of one's own.

    Args:
        stage: whose net the first commands take.
    """
    here = shlex.quote(str(out))
    model, weights = f"{here}/{stage.deploy}", f"{here}/{stage.weights}"
    return [
        "",
        "Next, with this net:",
        "",
        f"    caffecompat draw {model} --html {here}/net.html",
        f"    caffecompat report {here}/{stage.log} --out {here}/report.html",
        f"    caffecompat check {model} --target dpu",
        f"    caffecompat export onnx --model {model} --weights {weights} {here}/espnet.onnx",
        "",
        "With pictures of your own (train.txt and val.txt have lines 'picture label-picture'):",
        "",
        "    caffecompat new espnet --train train.txt --val val.txt my_net/",
        "    caffecompat train --solver my_net/solver_encoder.prototxt",
        "    caffecompat segment street.png --model my_net/deploy.prototxt --weights net.caffemodel --out segmented/",
        "",
        "With a model that you have:",
        "",
        "    caffecompat summary train_val.prototxt",
        "    caffecompat train --solver solver.prototxt --weights pretrained.caffemodel",
    ]
