"""Scores of a net against the share of its weights that is zero, for a threshold a layer and a threshold a channel."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from caffecompat.arguments import as_names
from caffecompat.data.preprocess import Preprocess
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.quantized import compare_scores, headline, task_of
from caffecompat.forks import ForkName
from caffecompat.net.weights import WeightPaths
from caffecompat.quantize.sparsify import MODES, Sparsity, Thinner, check_target, open_for_thinning
from caffecompat.report.plots import draw
from caffecompat.schema import NetSource, as_document

__all__ = ["TARGETS", "SparsityCurve", "SparsityPoint", "sparsity_curve"]

TARGETS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class SparsityPoint:
    """A net thinned, and its scores.

    Attributes:
        scores: each class, then the figures of the whole, 0 to 1.
    """

    sparsity: Sparsity
    scores: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """What is needed of it in tables and curves, for JSON; nan is None."""
        one = self.sparsity
        return {
            "mode": one.mode, "target": one.target, "share": one.share, "reached": one.reached,
            "effective_macs": one.effective_macs,
            "scores": {name: None if math.isnan(value) else value for name, value in self.scores.items()},
        }  # fmt: skip


@dataclass(frozen=True)
class SparsityCurve:
    """Both ways to thin, at the same targets.

    Attributes:
        score: the figure that is plotted and compared: mIoU, top-1, or mAP.
        before: the net as it is.
        points: by target, then by mode.
    """

    score: str
    before: SparsityPoint
    points: list[SparsityPoint] = field(default_factory=list)

    @property
    def modes(self) -> list[str]:
        return list(dict.fromkeys(str(point.sparsity.mode) for point in self.points))

    @property
    def targets(self) -> list[float]:
        return list(dict.fromkeys(point.sparsity.target or 0.0 for point in self.points))

    def at(self, target: float, mode: str) -> SparsityPoint:
        """The point of a target and a mode."""
        return next(p for p in self.points if p.sparsity.target == target and p.sparsity.mode == mode)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        points = [point.as_dict() for point in self.points]
        return {"score": self.score, "before": self.before.as_dict(), "points": points}

    def plot(self, path: str | os.PathLike[str], title: str = "") -> None:
        """Draw the score against the share of zeros that was reached, a curve for each mode.

        Raises:
            PlotError: matplotlib is not installed, or cannot write files of that kind.
        """

        def paint(figure: Any) -> None:
            axes = figure.add_subplot()
            for mode in self.modes:
                points = [self.before, *(point for point in self.points if point.sparsity.mode == mode)]
                axes.plot(
                    [point.sparsity.share for point in points], [point.scores[self.score] for point in points],
                    marker="o", markersize=3, label=f"a threshold a {mode}",
                )  # fmt: skip
            axes.set(xlabel="share of weights that is 0", ylabel=self.score, title=title)
            axes.grid(alpha=0.3)
            axes.legend()

        draw(path, paint)


def sparsity_curve(
    model: NetSource,
    weights: WeightPaths,
    data: str | os.PathLike[str],
    *,
    targets: Sequence[float] = TARGETS,
    modes: Sequence[str] = MODES,
    task: str | None = None,
    names: Sequence[str] = (),
    limits: Mapping[str, float] | None = None,
    max_ratio: float = math.inf,
    max_value: float = math.inf,
    root: str = "",
    preprocess: Preprocess | None = None,
    size: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
    fork: ForkName | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> SparsityCurve:
    """Thin a net to several shares of zeros, by a threshold a layer and by one a channel, and score each.

    Nothing is trained in between: fine-tuning with the zeros frozen brings much of the loss back.

    Args:
        model, weights: a net that the functions `evaluate_...` score, and its weights.
        data: list, database or data set with labels.
        targets: shares of zeros, each above 0 and below 1.
        modes: "layer" and "channel", or one of them.
        task: segmentation, classification or detection; None finds it from the net and the data.
        names: of the classes.
        limits, max_ratio, max_value, fork: as of `sparsify`.
        size: (height, width) of the net's input in pixels, where it is another than the prototxt's.
        root, preprocess, device: as of `evaluate_classification`.
        on_progress: called with the nets scored so far, and how many there will be.

    Raises:
        CaffeCompatError: as `sparsify` and the functions `evaluate_...` raise it.

    >>> import caffecompat
    >>> curve = caffecompat.sparsity_curve(
    ...     "deploy.prototxt", "net.caffemodel", "list.txt", targets=[0.98, 0.99], limits={"conv": 0.99}
    ... )
    >>> (curve.score, curve.before.scores["top-1"], len(curve.points))
    ('top-1', 1.0, 4)
    >>> curve.plot("sparsity.png")
    """
    modes, names = as_names(modes, "modes"), as_names(names, "names")
    if isinstance(targets, str) or not isinstance(targets, Sequence) or not targets or not modes:
        raise CaffeCompatError(f"targets {targets!r}, modes {modes!r}: expected a list of each, with one at least")
    for target in targets:
        check_target(target, f"targets {targets!r}:")
    for mode in modes:
        if mode not in MODES:
            raise CaffeCompatError(f"mode {mode!r}: expected {' or '.join(MODES)}")
    document = as_document(model, fork=fork)
    task = task or task_of(document, data)
    thinner = Thinner(open_for_thinning(document, weights), limits=limits, max_ratio=max_ratio, max_value=max_value)
    settings = {"root": root, "preprocess": preprocess, "size": size, "device": device}
    total = 1 + len(set(targets)) * len(modes)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "thinned.caffemodel")

        def score(done: Sparsity, source: WeightPaths) -> SparsityPoint:
            scores = compare_scores([(document, source)], data, task, names=names, **settings)
            return SparsityPoint(done, {one.name: one.values[0] for one in scores})

        before = score(thinner.report(), weights)
        curve = SparsityCurve(headline(list(before.scores)), before)
        on_progress(1, total)
        for target in sorted(set(targets)):
            for mode in modes:
                done = thinner.thin(target, mode)
                thinner.net.save(path)
                curve.points.append(score(done, path))
                on_progress(1 + len(curve.points), total)
    return curve
