"""Nets that give a picture a class, and what their answers are worth."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import ClassVar

import numpy as np
import torch

from caffecompat import glog
from caffecompat.arguments import as_count, as_size
from caffecompat.data.preprocess import Preprocess
from caffecompat.deploy.inference.inference_net import Engine
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.fed_model import scored_model
from caffecompat.evaluate.labeled_pictures import LabeledPictures, open_labeled
from caffecompat.evaluate.scored_net import ScoredNet, own_pictures
from caffecompat.evaluate.top_k import TopK
from caffecompat.forks import ForkName
from caffecompat.net.precision import Amp
from caffecompat.net.weights import WeightPaths
from caffecompat.schema import NetSource

__all__ = ["Classifier", "evaluate_classification", "score_own_labels", "score_pictures"]

PathLike = str | os.PathLike[str]


class Classifier(ScoredNet):
    """A net whose scores are vectors (N, classes) or (N, classes, 1, 1); a softmax that ends it is kept."""

    keeps_softmax: ClassVar[bool] = True

    def _check_scores(self, shape: tuple[int, ...]) -> None:
        if len(shape) < 2 or shape[1] < 2 or any(size != 1 for size in shape[2:]):
            raise CaffeCompatError(
                f"{self.path}: blob {self.scores!r} of shape {shape} holds no scores of classes (N, classes); "
                "name another with --blob"
            )

    def classify(self, batch: np.ndarray) -> np.ndarray:
        """Scores (N, classes) float32 of prepared pictures (N, C, H, W)."""
        return self.score(batch).flatten(1).cpu().numpy()


def evaluate_classification(
    model: NetSource | Classifier,
    weights: WeightPaths | None = None,
    data: LabeledPictures | PathLike | None = None,
    *,
    root: str = "",
    iterations: int | None = None,
    batch: int | None = None,
    ks: Sequence[int] = (1, 5),
    preprocess: Preprocess | None = None,
    mean_file: str = "",
    size: tuple[int, int] | None = None,
    resize: tuple[int, int] | None = None,
    short_side: int | None = None,
    crop: int | None = None,
    interp: str | None = None,
    blob: str | None = None,
    device: torch.device | str = "cpu",
    allow_missing: bool = False,
    fork: ForkName | None = None,
    amp: Amp | None = None,
    engine: Engine | None = None,
    rgb: bool | None = None,
    on_progress: Callable[[int, TopK], None] = lambda done, result: None,
) -> TopK:
    """Score a net that classifies pictures: how often the label is among the best k, by the rule of Caffe's Accuracy.

    Pictures are treated as Caffe's data layers do in TEST phase: a list's are resized to `resize` or by `short_side`,
    if given, and the center of the net's input size is cut out; without, they are resized to the input. Then mean and
    scale.

    Args:
        model: path of a deploy or train_val prototxt, or a net that was read; or of an ONNX file, computed by
            onnxruntime.
        weights: a weight file, or a list of them; None leaves initial values.
        data: a list of lines "path label", or a database of labeled Datums. None: what the data layer of the net's own
            TEST phase reads.
        root: put before a list's paths.
        iterations: batches to score; None is all pictures once.
        batch: pictures in a batch instead of the prototxt's number.
        ks: which k to count.
        mean_file: a mean picture (binaryproto), subtracted pixel by pixel, as large as the uncropped pictures.
        preprocess: how pixels become inputs; by default what the prototxt's Input layer states.
        size: (height, width) of the net's input in pixels instead of the prototxt's.
        resize: (height, width) that a list's pictures are resized to.
        short_side: resize pictures so that the shorter side becomes this, and keep the aspect.
        crop: side of the square that is cut out of the center, Caffe's way (odd remainders are rounded down), and the
            net's input size; without it the center of the net's input size is.
        interp: how pictures are resized: "bilinear", "bicubic", "area", "nearest" or "lanczos", OpenCV's.
        blob: name of the scores (N, classes), where the net does not show which they are.
        device: where to compute.
        allow_missing: go on though layers that need training get no weights from the files.
        fork: the Caffe whose rules hold, where the text cannot show it.
        amp: "bf16" or "fp16": layers compute in 16 bits, as of :class:`caffecompat.Net`.
        engine: what computes: "torch", "onnxruntime" (on CPUs), or "auto", the default: the one expected to be faster.
        rgb: of an ONNX file that does not say it: whether its channels are R, G, B.
        on_progress: called with how many pictures are done, and the counts so far.

    Returns:
        Counts by label and best class, with `accuracy(k)`, `recall()` and `precision()`, 0 to 1.

    Raises:
        CaffeCompatError: the net, its weights or the data cannot be read, or do not fit each other.

    >>> import caffecompat
    >>> result = caffecompat.evaluate_classification("deploy.prototxt", "net.caffemodel", "list.txt", ks=(1, 2))
    >>> (result.total, result.accuracy(2), result.counts.shape)
    (4, 1.0, (2, 2))
    """
    iterations, batch, resize = as_count(iterations, "iterations"), as_count(batch, "batch"), as_size(resize, "resize")
    short_side, crop = as_count(short_side, "short_side"), as_count(crop, "crop")
    if crop is not None:
        size = size or (crop, crop)
        if tuple(size) != (crop, crop):
            raise CaffeCompatError(f"crop {crop} is the net's input size; leave size out")
    for k in ks:
        as_count(k, "ks: a k of")
    classifier = scored_model(
        Classifier, model, weights, fed=data is not None, size=size, device=device, allow_missing=allow_missing,
        fork=fork, amp=amp, engine=engine, blob=blob, rgb=rgb,
    )  # fmt: skip
    if data is None:
        if classifier.input_shape is not None:
            raise CaffeCompatError(f"{classifier.path} is fed from outside: give the data to score it on")
        return score_own_labels(classifier, own_pictures(classifier, iterations)[0], ks=ks, on_progress=on_progress)
    if not isinstance(data, LabeledPictures):
        data = open_labeled(
            classifier, data, root, resize=resize, short_side=short_side, interp=interp, preprocess=preprocess,
            mean_file=mean_file,
        )  # fmt: skip
    assert classifier.input_shape is not None
    limit = iterations * (batch or classifier.input_shape[0]) if iterations else None
    return score_pictures(classifier, data, ks=ks, batch=batch, limit=limit, on_progress=on_progress)


def score_pictures(
    classifier: Classifier,
    pictures: LabeledPictures,
    *,
    ks: Sequence[int] = (1, 5),
    batch: int | None = None,
    limit: int | None = None,
    on_progress: Callable[[int, TopK], None] = lambda done, result: None,
) -> TopK:
    """Score a net fed from outside.

    Args:
        batch: pictures a forward pass; None is the prototxt's number.
        limit: how many to score; None is all.

    Raises:
        CaffeCompatError: pictures or labels cannot be read or do not fit.
    """
    assert classifier.input_shape is not None, "this net reads its own data"
    size = batch or classifier.input_shape[0]
    count = min(limit or pictures.count, pictures.count)
    with closing(pictures.open((size, *classifier.input_shape[1:]))) as source:

        def following() -> tuple[np.ndarray, np.ndarray]:
            data, labels = source.next()
            return classifier.classify(data), labels

        return _score(following, source.describe, TopK(classifier.classes, ks), count, on_progress)


def score_own_labels(
    classifier: Classifier,
    count: int,
    *,
    ks: Sequence[int] = (1, 5),
    on_progress: Callable[[int, TopK], None] = lambda done, result: None,
) -> TopK:
    """Score a net on the first `count` pictures that its own TEST-phase data layers bring."""

    def following() -> tuple[np.ndarray, np.ndarray]:
        scores, labels = classifier.next()
        return scores.flatten(1).cpu().numpy(), labels

    return _score(following, classifier.describe, TopK(classifier.classes, ks), count, on_progress)


def _score(
    following: Callable[[], tuple[np.ndarray, np.ndarray]],
    describe: Callable[[int], str],
    result: TopK,
    count: int,
    on_progress: Callable[[int, TopK], None],
) -> TopK:
    done = 0
    while done < count:
        scores, labels = following()
        kept = min(len(scores), count - done)
        result.add(scores[:kept], labels.reshape(len(labels), -1)[:kept, 0], describe)
        done += kept
        on_progress(done, result)
    if result.outside:
        glog.warning(result.outside_text())
    return result
