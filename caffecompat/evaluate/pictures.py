"""Nets on single pictures: the classes of pixels, boxes, the class of the whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch

from caffecompat.deploy.inference.inference_net import Engine
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.classification import Classifier
from caffecompat.evaluate.detector import Detector
from caffecompat.evaluate.fed_model import scored_model
from caffecompat.evaluate.multi_scale import MultiScale
from caffecompat.evaluate.scored_net import ScoredNet
from caffecompat.evaluate.segmenter import Segmenter, scores_to_classes
from caffecompat.forks import ForkName
from caffecompat.formats.picture import resize_picture
from caffecompat.formats.picture_file import gray, read_picture_file
from caffecompat.net.precision import Amp
from caffecompat.net.weights import WeightPaths
from caffecompat.schema import NetSource

__all__ = ["classify", "detect", "segment"]

Kind = TypeVar("Kind", bound=ScoredNet)
Picture = str | os.PathLike[str] | np.ndarray
Prepare = Callable[[np.ndarray, int, int], np.ndarray]  # as Preprocess: picture, height, width -> (1, C, height, width)


def segment(
    model: NetSource | Segmenter,
    weights: WeightPaths | None,
    pictures: Picture | Iterable[Picture],
    *,
    preprocess: Prepare | None = None,
    at: str = "picture",
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    fit: str = "warp",
    size: tuple[int, int] | None = None,
    blob: str | None = None,
    device: torch.device | str = "cpu",
    allow_missing: bool = False,
    fork: ForkName | None = None,
    amp: Amp | None = None,
    engine: Engine | None = None,
) -> list[np.ndarray]:
    """The class of each pixel of pictures.

    Args:
        model: path of a deploy or train_val prototxt whose scores are maps, or a net that was read.
        weights: a weight file, or a list of them; None leaves initial values.
        pictures: files, or arrays (H, W, C) uint8 in B, G, R order; one or several.
        preprocess: how pixels become inputs (`Preprocess`); by default what the prototxt's Input layer states.
        at: "picture", classes in the pictures' sizes (by nearest), or "net", in that of the scores.
        scales, flip, fit: as of `evaluate_segmentation`; the classes then have the pictures' sizes.
        size: (height, width) in pixels of the net's input instead of the prototxt's.
        blob: of the scores, where it is not plain which.
        device: where to compute.
        allow_missing: go on though layers that need training get no weights from the files.
        fork: the Caffe whose rules hold, where the text cannot show it.
        amp: "bf16" or "fp16": layers compute in 16 bits, as of :class:`caffecompat.Net`.
        engine: what computes: "torch", "onnxruntime" (on CPUs), or "auto", the default: the one expected to be faster.

    Returns:
        Of each picture the numbers of the classes, (H, W) uint8.

    Raises:
        CaffeCompatError: the net, its weights or a picture cannot be read, or do not fit.

    >>> import caffecompat
    >>> [classes] = caffecompat.segment("segment.prototxt", "segment.caffemodel", "scene.png")
    >>> (classes.shape, classes[0, :4].tolist())
    ((8, 8), [0, 1, 2, 0])
    """
    if at not in ("picture", "net"):
        raise CaffeCompatError(f"at {at!r}: expected picture or net")
    views = MultiScale(scales, flip, fit)
    if not views.plain and at == "net":
        raise CaffeCompatError("at 'net': with scales, flip or fit 'pad' classes have the picture's size")
    net = _fed(Segmenter, model, weights, size, device, allow_missing, fork, amp, engine, blob)
    prepare = _chosen(net, preprocess)
    found = []
    for picture in _read(net, pictures):
        if not views.plain:
            found.append(scores_to_classes(views.probabilities(net, views.views(net, picture, prepare)))[0])
            continue
        classes = net.classify(picture, prepare)
        if at == "picture":
            classes = resize_picture(classes[:, :, None], *picture.shape[:2], nearest=True)[:, :, 0]
        found.append(classes)
    return found


def detect(
    model: NetSource | Detector,
    weights: WeightPaths | None,
    pictures: Picture | Iterable[Picture],
    *,
    preprocess: Prepare | None = None,
    threshold: float = 0.5,
    size: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
    allow_missing: bool = False,
    fork: ForkName | None = None,
    amp: Amp | None = None,
    engine: Engine | None = None,
) -> list[np.ndarray]:
    """The objects in pictures.

    Args:
        model: path of a deploy or test prototxt whose net ends in DetectionOutput or in YOLO's, or a net that was read.
        weights: a weight file, or a list of them; None leaves initial values.
        pictures: files, or arrays (H, W, C) uint8 in B, G, R order; one or several.
        preprocess: how pixels become inputs (`Preprocess`); by default what the prototxt's Input layer states.
        threshold: least score that counts, 0 to 1.
        size: (height, width) in pixels of the net's input instead of the prototxt's.
        device: where to compute.
        allow_missing: go on though layers that need training get no weights from the files.
        fork: the Caffe whose rules hold, where the text cannot show it.
        amp: "bf16" or "fp16": layers compute in 16 bits, as of :class:`caffecompat.Net`.
        engine: what computes: "torch", "onnxruntime" (on CPUs), or "auto", the default: the one expected to be faster.

    Returns:
        Of each picture rows [class, score, xmin, ymin, xmax, ymax], (K, 6) float32, best first, boxes in units of the
        picture (0 to 1).

    Raises:
        CaffeCompatError: the net, its weights or a picture cannot be read, or do not fit.

    >>> import caffecompat
    >>> [rows] = caffecompat.detect("detect.prototxt", "detect.caffemodel", "0.png")
    >>> (rows.shape, int(rows[0, 0]), rows[0, 2:].tolist())
    ((1, 6), 1, [0.25, 0.25, 0.75, 0.75])
    """
    net = _fed(Detector, model, weights, size, device, allow_missing, fork, amp, engine)
    prepare = _chosen(net, preprocess)
    found = []
    for picture in _read(net, pictures):
        rows = net.detect(picture, prepare)
        rows = rows[rows[:, 1] >= threshold]
        rows[:, 2:] = rows[:, 2:].clip(0, 1)
        found.append(rows)
    return found


def classify(
    model: NetSource | Classifier,
    weights: WeightPaths | None,
    pictures: Picture | Iterable[Picture],
    *,
    preprocess: Prepare | None = None,
    size: tuple[int, int] | None = None,
    blob: str | None = None,
    device: torch.device | str = "cpu",
    allow_missing: bool = False,
    fork: ForkName | None = None,
    amp: Amp | None = None,
    engine: Engine | None = None,
) -> np.ndarray:
    """The scores of pictures' classes; whole pictures are resized to the net's input.

    Args:
        model: path of a deploy or train_val prototxt whose scores are vectors, or a net that was read. What a loss
            applies to the scores (Softmax, Sigmoid) is put after them.
        weights: a weight file, or a list of them; None leaves initial values.
        pictures: files, or arrays (H, W, C) uint8 in B, G, R order; one or several.
        preprocess: how pixels become inputs (`Preprocess`); by default what the prototxt's Input layer states.
        size: (height, width) in pixels of the net's input instead of the prototxt's.
        blob: of the scores, where it is not plain which.
        device: where to compute.
        allow_missing: go on though layers that need training get no weights from the files.
        fork: the Caffe whose rules hold, where the text cannot show it.
        amp: "bf16" or "fp16": layers compute in 16 bits, as of :class:`caffecompat.Net`.
        engine: what computes: "torch", "onnxruntime" (on CPUs), or "auto", the default: the one expected to be faster.

    Returns:
        (pictures, classes) float32.

    Raises:
        CaffeCompatError: the net, its weights or a picture cannot be read, or do not fit.

    >>> import caffecompat
    >>> scores = caffecompat.classify("deploy.prototxt", "net.caffemodel", ["0.png", "1.png"])
    >>> (scores.shape, scores.argmax(1).tolist())
    ((2, 2), [0, 1])
    """
    net = _fed(Classifier, model, weights, size, device, allow_missing, fork, amp, engine, blob)
    assert net.input_shape is not None, "it is fed with pictures"
    batch, _, height, width = net.input_shape
    prepare = _chosen(net, preprocess)
    prepared = (prepare(picture, height, width) for picture in _read(net, pictures))
    scores = [np.zeros((0, net.classes), np.float32)]
    while part := list(islice(prepared, batch)):
        scores.append(net.classify(np.concatenate(part)))
    return np.concatenate(scores)


def _fed(
    kind: type[Kind],
    model: NetSource | Kind,
    weights: WeightPaths | None,
    size: tuple[int, int] | None,
    device: torch.device | str,
    allow_missing: bool,
    fork: ForkName | None,
    amp: Amp | None,
    engine: Engine | None,
    blob: str | None = None,
) -> Kind:
    settings: dict[str, Any] = {} if blob is None else {"blob": blob}
    return scored_model(
        kind, model, weights, fed=True, size=size, device=device, allow_missing=allow_missing, fork=fork,
        amp=amp, engine=engine, probabilities=kind is Classifier, **settings,
    )  # fmt: skip


def _chosen(net: ScoredNet, preprocess: Prepare | None) -> Prepare:
    return preprocess or net.choose_preprocess()


def _read(net: ScoredNet, pictures: Picture | Iterable[Picture]) -> Iterator[np.ndarray]:
    """(H, W, C) uint8 with as many channels as the net takes."""
    if isinstance(pictures, (str, os.PathLike)) or (isinstance(pictures, np.ndarray) and pictures.ndim < 4):
        pictures = [pictures]
    for picture in pictures:
        pixels = picture if isinstance(picture, np.ndarray) else read_picture_file(os.fspath(picture))
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
            raise CaffeCompatError(f"a picture of shape {pixels.shape}: expected (H, W, 3) or (H, W, 1)")
        if net.color and pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        yield pixels if net.color or pixels.shape[2] == 1 else gray(pixels)
