"""Scoring a segmentation net over pictures with label pictures: from a list, from databases, or its own data layers."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from caffecompat import glog
from caffecompat.arguments import as_count
from caffecompat.data.dataset import is_dataset
from caffecompat.data.label_picture import LabelError, decode_labels
from caffecompat.data.parallel import ordered_map
from caffecompat.data.preprocess import Preprocess
from caffecompat.deploy.inference.inference_net import Engine
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.confusion import ConfusionMatrix
from caffecompat.evaluate.fed_model import scored_model
from caffecompat.evaluate.multi_scale import MultiScale, Views
from caffecompat.evaluate.scored_net import own_pictures
from caffecompat.evaluate.segmenter import Segmenter, scores_to_classes
from caffecompat.files import read_bytes
from caffecompat.forks import ForkName
from caffecompat.formats.database import DatabaseError, open_database
from caffecompat.formats.datum import Datum, DatumError, decode_datum
from caffecompat.formats.image_list import read_pair_list
from caffecompat.formats.picture import PictureError, decode_picture, resize_picture
from caffecompat.formats.picture_header import is_cut_off
from caffecompat.net.precision import Amp
from caffecompat.net.weights import WeightPaths
from caffecompat.schema import NetSource
from caffecompat.threads import loader_threads

__all__ = [
    "DatabasePairs",
    "EvaluationError",
    "ListPairs",
    "Pairs",
    "evaluate_segmentation",
    "open_pairs",
    "score_own_data",
    "score_pairs",
]

PathLike = str | os.PathLike[str]


class EvaluationError(CaffeCompatError):
    """Pictures or labels that cannot be read, or do not belong together."""


class Pairs(ABC):
    """Pictures and their labels, by number."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What messages call a pair."""

    @abstractmethod
    def load(self, index: int, color: bool) -> tuple[np.ndarray, np.ndarray]:
        """(picture (H, W, C), labels (H, W) uint8); may be called from several threads.

        Raises:
            CaffeCompatError: either cannot be read.
        """


class ListPairs(Pairs):
    """The lines ``picture label-picture`` of a list.

    Args:
        path: the list.
        root: put before each path as Caffe's root_folder is, or, where that leads nowhere, as a folder.

    Raises:
        EvaluationError: files are missing; all of them at once (the first hundred are named).
    """

    def __init__(self, path: str, root: str = "") -> None:
        self._list = path
        entries = read_pair_list(path)
        self._pairs = [(self._resolve(root, e.image), self._resolve(root, e.label), e.line) for e in entries]
        missing = [f"  {path}:{line}: {file} does not exist"
                   for *files, line in self._pairs for file in files if not os.path.isfile(str(file))]  # fmt: skip
        if missing:
            shown = "\n".join(missing[:100]) + (f"\n  ... and {len(missing) - 100} more" if len(missing) > 100 else "")
            raise EvaluationError(
                f"{len(missing)} of the {2 * len(entries)} files are missing:\n{shown}\n"
                "Give the folder that the list's paths start from with --root-folder."
            )

    def _resolve(self, root: str, path: str) -> str:
        if not root:
            return path if os.path.exists(path) else _relative_to(path, self._list)
        return root + path if os.path.exists(root + path) else os.path.join(root, path.lstrip("/"))

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        image, _, line = self._pairs[index]
        return f"{self._list}:{line}: {image}"

    def load(self, index: int, color: bool) -> tuple[np.ndarray, np.ndarray]:
        image, label, _ = self._pairs[index]
        file = read_bytes(image, EvaluationError)
        try:
            picture = decode_picture(file, color)
        except PictureError as problem:
            raise EvaluationError(f"{image}: {problem}") from None
        if picture is None or is_cut_off(file):
            raise EvaluationError(f"{image} is not a picture, or cut off ({len(file)} bytes)")
        try:
            return picture, decode_labels(read_bytes(label, EvaluationError))[:, :, 0]
        except LabelError as error:
            raise EvaluationError(f"{label}: {error}") from None


class DatabasePairs(Pairs):
    """Two databases of the same keys: pictures, and one-channel records of class numbers.

    Raises:
        DatabaseError: a database cannot be opened, or the keys differ.
    """

    def __init__(self, images: str, labels: str) -> None:
        self._images, self._labels = open_database(images), open_database(labels)
        self._keys = list(self._images.keys())
        if len(self._labels) != len(self._keys):
            raise DatabaseError(
                f"{images} has {len(self._keys)} records and {labels} {len(self._labels)}; they need the same keys"
            )
        lacking = next((key for key in self._keys if self._labels.get(key) is None), None)
        if lacking is not None:
            raise DatabaseError(f"{labels} has no record of the key {_text(lacking)}, which {images} has")

    def __len__(self) -> int:
        return len(self._keys)

    def name(self, index: int) -> str:
        return f"{self._images.path}, record {_text(self._keys[index])}"

    def load(self, index: int, color: bool) -> tuple[np.ndarray, np.ndarray]:
        key = self._keys[index]
        picture = decode_datum(self._images.get(key) or b"").image(color)
        labels = _label_record(decode_datum(self._labels.get(key) or b""))
        return picture, labels


def open_pairs(data: Pairs | PathLike | tuple[PathLike, PathLike], root: str = "") -> Pairs:
    """Pictures and labels, given in any way that `evaluate_segmentation` takes.

    Raises:
        CaffeCompatError: the data cannot be read, or files are missing.
    """
    if isinstance(data, Pairs):
        return data
    if isinstance(data, tuple):
        return DatabasePairs(os.fspath(data[0]), os.fspath(data[1]))
    if is_dataset(data):
        return DatabasePairs(os.path.join(data, "image"), os.path.join(data, "label"))
    return ListPairs(os.fspath(data), root)


def evaluate_segmentation(
    model: NetSource | Segmenter,
    weights: WeightPaths | None = None,
    data: Pairs | PathLike | tuple[PathLike, PathLike] | None = None,
    *,
    root: str = "",
    iterations: int | None = None,
    preprocess: Preprocess | None = None,
    size: tuple[int, int] | None = None,
    resize: str | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    fit: str = "warp",
    ignore: Sequence[int] = (255,),
    blob: str | None = None,
    device: torch.device | str = "cpu",
    allow_missing: bool = False,
    fork: ForkName | None = None,
    amp: Amp | None = None,
    engine: Engine | None = None,
    rgb: bool | None = None,
    on_progress: Callable[[int, ConfusionMatrix], None] = lambda done, matrix: None,
) -> ConfusionMatrix:
    """Score a segmentation net: IoU of each class, mIoU, pixel accuracy.

    Labels are pictures of class numbers, (H, W) uint8.

    Args:
        model: path of a deploy or train_val prototxt, or a net that was read; or of an ONNX file, computed by
            onnxruntime.
        weights: a weight file, or a list of them; None leaves initial values.
        data: a list of lines "picture label-picture"; a folder with the databases image/ and label/; or a pair of
            databases. None: what the data layers of the net's own TEST phase read.
        root: put before a list's paths.
        iterations: pictures to score, of the net's own data batches; None is all.
        preprocess: how pixels become inputs; by default what the prototxt's Input layer states.
        size: (height, width) of the net's input in pixels instead of the prototxt's.
        device: where to compute.
        allow_missing: go on though layers that need training get no weights from the files.
        fork: the Caffe whose rules hold, where the text cannot show it.
        amp: "bf16" or "fp16": layers compute in 16 bits, as of :class:`caffecompat.Net`.
        engine: what computes: "torch", "onnxruntime" (on CPUs), or "auto", the default: the one expected to be faster.
        rgb: of an ONNX file that does not say it: whether its channels are R, G, B.
        resize: what gives way where scores and labels differ in size: "classes" (the predicted classes are brought to
            the labels' size by nearest, Xilinx Caffe's SegmentPixelIOU; the default), "scores" (bilinearly) or "labels"
            (nearest). With the next three it is always the probabilities, bilinearly.
        scales: multi-scale testing: the sum of the probabilities of the picture in several sizes (see `MultiScale`).
        flip: show the net each view mirrored, too.
        fit: "warp", a picture is resized to the net's input size; or "pad", it is padded to it by the mean, at the
            right and bottom, and scored on its own pixels.
        ignore: label values that are left out.
        blob: name of the scores (N, classes, h, w), where the net does not show which they are.
        on_progress: called with how many pictures (batches of own data) are done, and the counts so far.

    Returns:
        Counts of pixels by label and predicted class, with `iou()`, `miou()` and `pixel_accuracy()`, 0 to 1.

    Raises:
        CaffeCompatError: the net, its weights or the data cannot be read, or do not fit each other.

    >>> import caffecompat
    >>> matrix = caffecompat.evaluate_segmentation("segment.prototxt", "segment.caffemodel", "pairs.txt")
    >>> (matrix.miou(), matrix.pixel_accuracy(), matrix.iou().shape)
    (1.0, 1.0, (3,))
    """
    if resize not in (None, "classes", "scores", "labels"):
        raise EvaluationError(f"resize {resize!r}: expected 'classes', 'scores' or 'labels'")
    views = MultiScale(scales, flip, fit)
    if not views.plain and resize not in (None, "scores"):
        raise EvaluationError(f"resize {resize!r}: with scales, flip or fit 'pad' probabilities are resized")
    iterations = as_count(iterations, "iterations")
    segmenter = scored_model(
        Segmenter, model, weights, fed=data is not None, size=size, device=device, allow_missing=allow_missing,
        fork=fork, amp=amp, engine=engine, blob=blob, rgb=rgb,
    )  # fmt: skip
    if data is not None:
        chosen = preprocess or segmenter.choose_preprocess()
        return score_pairs(
            segmenter, open_pairs(data, root), chosen,
            resize=resize or "classes", views=views, ignore=ignore, limit=iterations, on_progress=on_progress,
        )  # fmt: skip
    if segmenter.input_shape is not None:
        raise EvaluationError(f"{segmenter.path} is fed from outside: give the data to score it on")
    if not views.plain:
        raise EvaluationError("scales, flip and fit 'pad' are for pictures from outside: give the data to score on")
    pictures, batches = own_pictures(segmenter, iterations)
    return score_own_data(
        segmenter, batches, records=pictures, resize=resize or "classes", ignore=ignore, on_progress=on_progress
    )


def score_pairs(
    segmenter: Segmenter,
    pairs: Pairs,
    preprocess: Preprocess,
    *,
    resize: str = "classes",
    views: MultiScale | None = None,
    ignore: Sequence[int] = (255,),
    limit: int | None = None,
    on_progress: Callable[[int, ConfusionMatrix], None] = lambda done, matrix: None,
) -> ConfusionMatrix:
    """Score a net fed from outside; one picture at a time, reading ahead in other threads.

    Labels that are neither a class nor ignored count as wrong, with a warning that names the first picture.

    Args:
        resize: what gives way where scores and labels differ in size: "classes" (the predicted classes are
            brought to the labels' size by nearest, Xilinx Caffe's SegmentPixelIOU and how the published numbers
            were made), "scores" (bilinearly, before the best is taken) or "labels" (to the scores' size by nearest).
        views: show each picture so, instead of once in the net's input size.
        limit: pairs to score; None is all.

    Raises:
        CaffeCompatError: a pair cannot be read or does not fit; the message begins with its name.
    """

    shown = views if views is not None and not views.plain else None

    def read(index: int) -> tuple[int, np.ndarray | Views, np.ndarray]:
        try:
            picture, labels = pairs.load(index, segmenter.color)
            if picture.shape[:2] != labels.shape:
                sizes = f"{picture.shape[1]}x{picture.shape[0]}, its labels {labels.shape[1]}x{labels.shape[0]}"
                raise EvaluationError(f"the picture is {sizes} (width x height); they must be equal")
            prepared = shown.views if shown else Segmenter.prepare
            return index, prepared(segmenter, picture, preprocess), labels
        except CaffeCompatError as error:
            raise EvaluationError(f"{pairs.name(index)}: {error}") from error

    matrix, first = ConfusionMatrix(segmenter.classes, ignore), ""
    count = len(pairs) if limit is None else min(limit, len(pairs))
    for index, batch, labels in ordered_map(read, range(count), loader_threads()):
        before = matrix.outside
        if isinstance(batch, Views):
            assert shown is not None
            _add(matrix, shown.probabilities(segmenter, batch), labels[None], "scores")
        else:
            _add(matrix, segmenter.score(batch), labels[None], resize)
        if matrix.outside and not before:
            first = pairs.name(index)
        on_progress(index + 1, matrix)
    if matrix.outside:
        glog.warning(f"{first} and maybe others: {matrix.outside_text()}")
    return matrix


def score_own_data(
    segmenter: Segmenter,
    batches: int,
    *,
    records: int | None = None,
    resize: str = "classes",
    ignore: Sequence[int] = (255,),
    on_progress: Callable[[int, ConfusionMatrix], None] = lambda done, matrix: None,
) -> ConfusionMatrix:
    """Score a net on what its own TEST-phase data layers bring.

    Args:
        batches: how many to draw.
        records: stop counting after that many pictures (a last batch that goes over the data's end).

    Raises:
        CaffeCompatError: the data is bad.

    Labels that are neither a class nor ignored count as wrong, with a warning.
    """
    matrix = ConfusionMatrix(segmenter.classes, ignore)
    done = 0
    for batch in range(batches):
        scores, values = segmenter.next()
        count = len(values) if records is None else min(len(values), records - done)
        _add(matrix, scores[:count], _compact(values[:count]), resize)
        done += count
        on_progress(batch + 1, matrix)
    if matrix.outside:
        glog.warning(f"{segmenter.path}: {matrix.outside_text()}")
    return matrix


def _compact(labels: np.ndarray) -> np.ndarray:
    """Labels as bytes, which count fastest, if they all are bytes."""
    with np.errstate(invalid="ignore"):
        narrow = labels.astype(np.uint8)
    return narrow if (narrow == labels).all() else labels


def _add(matrix: ConfusionMatrix, scores: Tensor, labels: np.ndarray, resize: str) -> None:
    """Count a batch: `scores` (N, classes, h, w), `labels` (N, H, W) uint8 or float32."""
    size = labels.shape[1:]
    predictions = scores_to_classes(scores, (size[0], size[1]) if resize == "scores" else None)
    if predictions.shape != labels.shape:
        if resize == "labels":
            labels = _nearest(labels, predictions.shape[1:])
        else:
            predictions = _nearest(predictions, size)
    matrix.add(labels, predictions)


def _nearest(maps: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Maps (N, h, w) in another size, (N, *size)."""
    return np.stack([resize_picture(one[:, :, None], size[0], size[1], nearest=True)[:, :, 0] for one in maps])


def _label_record(datum: Datum) -> np.ndarray:
    if datum.encoded:
        try:
            return decode_labels(bytes(datum.data or b""))[:, :, 0]
        except LabelError as error:
            raise DatumError(f"the label record {error}") from None
    values = datum.array()
    if len(values) != 1 or values.dtype != np.uint8:
        raise DatumError(f"the label record is {values.dtype} of shape {values.shape}; expected one channel of bytes")
    label: np.ndarray = values[0]
    return label


def _relative_to(path: str, list_path: str) -> str:
    near = os.path.join(os.path.dirname(list_path), path)
    return near if os.path.exists(near) else path


def _text(key: bytes) -> str:
    return repr(key.decode(errors="backslashreplace"))
