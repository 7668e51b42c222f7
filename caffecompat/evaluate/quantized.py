"""The scores of a net in floating point, in fixed point, and fine-tuned there, side by side."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from caffecompat.data.dataset import dataset_parts, is_dataset
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.layers import class_of
from caffecompat.schema import NetDocument, NetSource, as_document

__all__ = ["TASKS", "Score", "compare_scores", "headline", "task_of"]

TASKS = ("segmentation", "classification", "detection")

PathLike = str | os.PathLike[str]

_HEADLINES = ("mIoU", "top-1", "mAP, 11point")


class Score(NamedTuple):
    """One figure of each net, 0 to 1; nan where it has no meaning (a class that does not occur)."""

    name: str
    values: tuple[float, ...]


def task_of(document: NetDocument, data: PathLike) -> str:
    """What kind of net it is, by its last layers, and else by the labels of the data: numbers or pictures."""
    if any(class_of(layer.type).gives_detections for layer in document.message.layer):
        return "detection"
    if is_dataset(data):
        return "segmentation" if dataset_parts(data) != ("",) else "classification"
    lines = [line.split() for line in read_text(data, "the list of pictures and labels").splitlines() if line.strip()]
    if not lines:
        raise CaffeCompatError(f"{data} lists nothing")
    return "classification" if lines[0][-1].lstrip("-").isdecimal() else "segmentation"


def compare_scores(
    nets: Sequence[tuple[NetSource, Any]],
    data: PathLike,
    task: str | None = None,
    *,
    names: Sequence[str] = (),
    **settings: Any,
) -> list[Score]:
    """Score nets on the same data: each class, then the figures of the whole.

    Args:
        nets: (net, weights) of each, as the functions `evaluate_...` take them.
        data: list, database or data set with labels, as these functions take it.
        task: segmentation, classification or detection; None finds it by `task_of`.
        names: of the classes.
        settings: for all of them (root, preprocess, size, device).

    Raises:
        CaffeCompatError: the nets or the data cannot be read, or do not fit; the task is unknown.
    """
    chosen = task or task_of(as_document(nets[0][0]), data)
    if chosen not in TASKS:
        raise CaffeCompatError(f"task {chosen!r}: expected {', '.join(TASKS)}")
    score = {"segmentation": _segmentation, "classification": _classification, "detection": _detection}[chosen]
    results = [score(model, weights, data, names, settings) for model, weights in nets]
    return [Score(name, tuple(result[name] for result in results)) for name in results[0]]


def headline(names: Sequence[str]) -> str:
    """Of the names of scores, the one that a net is known by: mIoU, top-1, or mAP by the 11-point rule."""
    return next(name for name in _HEADLINES if name in names)


def _name(names: Sequence[str], index: int) -> str:
    """A class's name; with its number where others, or figures of the whole, are called so too."""
    name = names[index] if index < len(names) else ""
    if not name:
        return f"class {index}"
    alone = names.count(name) == 1 and name not in _HEADLINES and not re.fullmatch(r"top-\d+|mAP, .*|class \d+", name)
    return name if alone and name != "pixel accuracy" else f"{name} (class {index})"


def _segmentation(
    model: NetSource, weights: Any, data: PathLike, names: Sequence[str], settings: dict[str, Any]
) -> dict[str, float]:
    from caffecompat.evaluate.segmentation import evaluate_segmentation

    matrix = evaluate_segmentation(model, weights, data, **settings)
    shares = {_name(names, index): share for index, share in enumerate(matrix.iou().tolist())}
    return {**shares, "mIoU": matrix.miou(), "pixel accuracy": matrix.pixel_accuracy()}


def _classification(
    model: NetSource, weights: Any, data: PathLike, names: Sequence[str], settings: dict[str, Any]
) -> dict[str, float]:
    from caffecompat.evaluate.classification import evaluate_classification

    result = evaluate_classification(model, weights, data, **settings)
    shares = {_name(names, index): share for index, share in enumerate(result.recall().tolist())}
    return {**shares, **{f"top-{k}": result.accuracy(k) for k in result.ks}}


def _detection(
    model: NetSource, weights: Any, data: PathLike, names: Sequence[str], settings: dict[str, Any]
) -> dict[str, float]:
    from caffecompat.evaluate.detection import evaluate_detection

    scores = evaluate_detection(model, weights, data, **settings).scores()
    shares = {
        _name(names, label): float("nan") if precision is None else precision
        for label, precision in scores.average_precisions("11point").items()
    }
    rules = {f"mAP, {rule}": scores.mean_of_present(rule) for rule in ("11point", "MaxIntegral", "Integral")}
    return {**shares, **rules}
