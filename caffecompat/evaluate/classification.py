"""Nets that give a picture a class, and what their answers are worth."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch

from caffecompat import glog
from caffecompat.arguments import as_count, as_size
from caffecompat.data import Source, make_source
from caffecompat.data.dataset import count_records, is_dataset
from caffecompat.data.preprocess import Preprocess, stated_transform
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.fed_model import scored_model
from caffecompat.evaluate.scored_net import ScoredNet, own_pictures
from caffecompat.forks import ForkName
from caffecompat.formats.image_list import read_image_list
from caffecompat.formats.mean import read_mean
from caffecompat.net.precision import Amp
from caffecompat.net.weights import WeightPaths
from caffecompat.paths import find_file
from caffecompat.schema import NetSource, pb
from caffecompat.schema.data_layers import is_input

__all__ = [
    "INTERPOLATIONS",
    "Classifier",
    "LabeledPictures",
    "TopK",
    "evaluate_classification",
    "open_labeled",
    "score_own_labels",
    "score_pictures",
]

PathLike = str | os.PathLike[str]


INTERPOLATIONS = {
    "bilinear": pb.ResizeParameter.LINEAR,
    "bicubic": pb.ResizeParameter.CUBIC,
    "area": pb.ResizeParameter.AREA,
    "nearest": pb.ResizeParameter.NEAREST,
    "lanczos": pb.ResizeParameter.LANCZOS4,
}
"""What users call transform_param's values of interp_mode."""


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


@dataclass
class TopK:
    """How often the label was among the best k.

    Attributes:
        classes: how many.
        ks: the k counted.
        counts: (classes, classes) int64, rows are labels and columns the best class (the first of equals).
        hits: for each k, how often at most k - 1 other classes score as well as the label or better, which is
            the rule of Caffe's Accuracy layer: equals count against the label.
        outside: how many labels were no class; they count as wrong, and are not in `counts`.
    """

    classes: int
    ks: Sequence[int] = (1, 5)
    outside: int = field(init=False, default=0)
    counts: np.ndarray = field(init=False)
    hits: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.classes, self.classes), np.int64)
        self.hits = [0] * len(self.ks)
        self._first, self._where = 0.0, ""  # of the labels outside, and where it was read from

    def add(self, scores: np.ndarray, labels: np.ndarray, describe: Callable[[int], str] = lambda row: "") -> None:
        """Count a batch: scores (N, classes), labels (N,); `describe` says where the picture of a row comes from."""
        with np.errstate(invalid="ignore"):  # NaN becomes some number that is no class
            index = labels.astype(np.int64)
        known = (index >= 0) & (index < self.classes)
        if not known.all():
            if not self.outside:
                row = int(np.flatnonzero(~known)[0])
                self._first, self._where = float(labels[row]), describe(row)
            self.outside += int((~known).sum())
            index, scores = index[known], scores[known]
        np.add.at(self.counts, (index, scores.argmax(1)), 1)
        others = (scores >= np.take_along_axis(scores, index[:, None], 1)).sum(1) - 1
        for at, k in enumerate(self.ks):
            self.hits[at] += int((others < k).sum())

    def outside_text(self) -> str:
        """What to report of labels that are no class; "" without any."""
        if not self.outside:
            return ""
        hint = "; do the labels count from 1?" if self._first == self.classes else ""
        where, verb = f" ({self._where})" if self._where else "", "is" if self.outside == 1 else "are"
        return (
            f"{self.outside} of {self.total} labels, the first {self._first:g}{where}, {verb} no class: "
            f"the net has {self.classes} (0 to {self.classes - 1}); they count as wrong{hint}"
        )

    @property
    def total(self) -> int:
        return int(self.counts.sum()) + self.outside

    def accuracy(self, k: int = 1) -> float:
        """Share of the pictures with the label among the best k; nan without any."""
        return self.hits[list(self.ks).index(k)] / self.total if self.total else float("nan")

    def recall(self) -> np.ndarray:
        """Of each class, the share of its pictures taken for it (classes,); nan without any."""
        with np.errstate(invalid="ignore", divide="ignore"):
            shares: np.ndarray = self.counts.diagonal() / self.counts.sum(1)
        return shares

    def precision(self) -> np.ndarray:
        """Of each class, the share of the pictures taken for it that belong to it (classes,); nan without any."""
        with np.errstate(invalid="ignore", divide="ignore"):
            shares: np.ndarray = self.counts.diagonal() / self.counts.sum(0)
        return shares

    def confusions(self, most: int = 10) -> list[tuple[int, int, int]]:
        """The most frequent mistakes: (label, taken for, how often)."""
        wrong = self.counts.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = [(int(at) // self.classes, int(at) % self.classes) for at in order]
        return [(label, best, int(wrong[label, best])) for label, best in pairs if wrong[label, best]]


class LabeledPictures:
    """Pictures with class numbers, brought to a net by the rules of Caffe's data layers in TEST phase.

    Args:
        list_path: lines "path label" (ImageData), or
        database: LMDB or LevelDB of labeled Datums (Data).
        root: put before the list's paths as Caffe's root_folder is.
        resize: (height, width) that a list's pictures are resized to, before the center of the net's input size
            is cut out; None resizes them to the input. A database's records are cut when they are larger.
        short_side: instead, the shorter side of pictures, those of a database too, becomes this; 0: it does not.
        interp: how they are resized, one of INTERPOLATIONS (OpenCV's).
        preprocess: mean, scale, subtract.
        mean_file: a mean picture, subtracted pixel by pixel; as large as the uncropped pictures.

    Attributes:
        count: how many there are.
    """

    def __init__(
        self,
        *,
        list_path: str = "",
        database: str = "",
        root: str = "",
        resize: tuple[int, int] | None = None,
        short_side: int = 0,
        interp: str = "bilinear",
        preprocess: Preprocess | None = None,
        mean_file: str = "",
    ) -> None:
        if interp not in INTERPOLATIONS:
            raise CaffeCompatError(f"interp {interp!r}: expected {', '.join(INTERPOLATIONS)}")
        if short_side and (resize or mean_file):
            other = "a mean file, which has one size" if mean_file else "resize"
            raise CaffeCompatError(f"short_side leaves pictures in several sizes: take it or {other}, not both")
        self._short_side, self._interp = short_side, interp
        self._list, self._database, self._root, self._resize = list_path, database, root, resize
        self._preprocess, self._mean_file = preprocess or Preprocess(), mean_file
        if mean_file and (self._preprocess.mean or self._preprocess.subtract):
            raise CaffeCompatError("take a mean file or mean values, not both")
        self.count = len(read_image_list(list_path)) if list_path else count_records(database)

    def open(self, shape: tuple[int, int, int, int]) -> Source:
        """The batches for an input of that shape.

        Raises:
            CaffeCompatError: the pictures cannot be read, or do not fit the input.
        """
        batch, channels, height, width = shape
        layer = pb.LayerParameter(name=self._list or self._database, top=["data", "label"])
        self._set_transform(layer.transform_param, channels)
        if self._list:
            layer.type = "ImageData"
            param = layer.image_data_param
            param.source, param.root_folder, param.batch_size = self._list, self._root, batch
            param.is_color = channels == 3
            if not self._short_side:
                param.new_height, param.new_width = self._resize or (height, width)
        else:
            layer.type = "Data"
            layer.data_param.source, layer.data_param.batch_size = self._database, batch
            layer.data_param.backend = _backend(self._database)
            layer.transform_param.force_color = channels == 3
            layer.transform_param.force_gray = channels == 1
        if self._short_side:
            layer.transform_param.short_side = self._short_side
            layer.transform_param.crop_h, layer.transform_param.crop_w = height, width
        if self._interp != "bilinear":
            layer.transform_param.interp_mode = INTERPOLATIONS[self._interp]
        source = make_source(layer, pb.TEST)
        if source.top_shapes[0][2:] != (height, width):
            source.close()
            layer.transform_param.crop_h, layer.transform_param.crop_w = height, width
            source = make_source(layer, pb.TEST)
        if source.top_shapes[0][1] != channels:
            source.close()
            raise CaffeCompatError(
                f"{layer.name}: the pictures have {source.top_shapes[0][1]} channel(s), the net takes {channels}"
            )
        return source

    def _set_transform(self, transform: pb.TransformationParameter, channels: int) -> None:
        """(pixel - mean) * scale / std - subtract as our Caffe's (pixel - mean') * scale / std."""
        preprocess = self._preprocess
        transform.scale = preprocess.scale
        transform.std_value.extend(preprocess.std)
        if self._mean_file:
            transform.mean_file = self._mean_file
        if preprocess.mean or preprocess.subtract:
            mean = np.zeros(channels) + (preprocess.mean or 0)
            shift = (np.zeros(channels) + (preprocess.subtract or 0)) / preprocess.factors
            transform.mean_value.extend((mean + shift).tolist())


def open_labeled(
    classifier: Classifier,
    data: PathLike,
    root: str = "",
    *,
    database: bool | None = None,
    resize: tuple[int, int] | None = None,
    short_side: int | None = None,
    interp: str | None = None,
    preprocess: Preprocess | None = None,
    mean_file: str = "",
) -> LabeledPictures:
    """Pictures for a net fed from outside, prepared as given, or as its Input layer states.

    The prototxt's mean file counts pixel by pixel, or by the means of its channels where it has another size than the
    pictures.

    Args:
        data: a list, or a database's folder.
        database: which of them; None: folders are databases.
        resize, short_side, interp: as of `LabeledPictures`; None: what the Input layer states of the last two, unless
            another size is given.

    Raises:
        CaffeCompatError: the data or the mean file cannot be read.
    """
    assert classifier.input_shape is not None, "this net reads its own data"
    database = is_dataset(data) if database is None else database
    transform = stated_transform(classifier.layers)
    if resize is None and short_side is None:
        short_side, stated = _stated_short_side(classifier.layers)
        interp = interp or stated
        if short_side:
            glog.info(f"pictures are resized as {classifier.path} says: short side {short_side}, {interp}")
    if not mean_file and preprocess is None:
        preprocess = classifier.choose_preprocess()
        if transform is not None and transform.mean_file:
            path = find_file(transform.mean_file, classifier.path)
            fits = database or read_mean(path).shape[1:] == tuple(resize or classifier.input_shape[2:])
            if fits and not short_side:
                mean_file, preprocess = path, replace(preprocess, mean=())
    return LabeledPictures(
        list_path="" if database else os.fspath(data),
        database=os.fspath(data) if database else "",
        root=root,
        resize=resize,
        short_side=short_side or 0,
        interp=interp or "bilinear",
        preprocess=preprocess,
        mean_file=mean_file,
    )


def _stated_short_side(layers: Sequence[pb.LayerParameter]) -> tuple[int, str]:
    """What the transform_param of an Input layer says of the shorter side, 0 for nothing, and of the interpolation."""
    for layer in layers:
        if is_input(layer) and layer.transform_param.short_side:
            mode = layer.transform_param.interp_mode
            return layer.transform_param.short_side, next(
                name for name in INTERPOLATIONS if INTERPOLATIONS[name] == mode
            )
    return 0, "bilinear"


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
        fork=fork, amp=amp, blob=blob, rgb=rgb,
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


def _backend(path: str) -> int:
    from caffecompat.formats.database import detect_backend

    return int(pb.DataParameter.LEVELDB if detect_backend(path) == "leveldb" else pb.DataParameter.LMDB)
