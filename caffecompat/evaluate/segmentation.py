"""Scoring a segmentation net over pictures with label pictures: from a list, from databases, or its own data layers."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from caffecompat import glog
from caffecompat.data.label_picture import LabelError, decode_labels
from caffecompat.data.parallel import ordered_map
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.confusion import ConfusionMatrix
from caffecompat.evaluate.preprocess import Preprocess
from caffecompat.evaluate.scored_net import own_records
from caffecompat.evaluate.segmenter import Segmenter, scores_to_classes
from caffecompat.files import read_bytes
from caffecompat.formats.database import DatabaseError, open_database
from caffecompat.formats.datum import Datum, DatumError, decode_datum
from caffecompat.formats.image_list import read_pair_list
from caffecompat.formats.picture import decode_picture, is_cut_off, resize_picture
from caffecompat.threads import loader_threads

__all__ = ["DatabasePairs", "EvaluationError", "ListPairs", "Pairs", "own_records", "score_own_data", "score_pairs"]


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
            return path if os.path.exists(path) else _beside(path, self._list)
        return root + path if os.path.exists(root + path) else os.path.join(root, path.lstrip("/"))

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        image, _, line = self._pairs[index]
        return f"{self._list}:{line}: {image}"

    def load(self, index: int, color: bool) -> tuple[np.ndarray, np.ndarray]:
        image, label, _ = self._pairs[index]
        file = read_bytes(image, EvaluationError)
        picture = decode_picture(file, color)
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


def score_pairs(
    segmenter: Segmenter,
    pairs: Pairs,
    preprocess: Preprocess,
    *,
    resize: str = "classes",
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
        limit: pairs to score; None is all.

    Raises:
        CaffeCompatError: a pair cannot be read or does not fit; the message begins with its name.
    """

    def read(index: int) -> tuple[int, np.ndarray, np.ndarray]:
        try:
            picture, labels = pairs.load(index, segmenter.color)
            if picture.shape[:2] != labels.shape:
                sizes = f"{picture.shape[1]}x{picture.shape[0]}, its labels {labels.shape[1]}x{labels.shape[0]}"
                raise EvaluationError(f"the picture is {sizes} (width x height); they must be equal")
            return index, segmenter.prepare(picture, preprocess), labels
        except CaffeCompatError as error:
            raise EvaluationError(f"{pairs.name(index)}: {error}") from error

    matrix, first = ConfusionMatrix(segmenter.classes, ignore), ""
    count = len(pairs) if limit is None else min(limit, len(pairs))
    for index, batch, labels in ordered_map(read, range(count), loader_threads()):
        before = matrix.outside
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
    return values[0]


def _beside(path: str, list_path: str) -> str:
    near = os.path.join(os.path.dirname(list_path), path)
    return near if os.path.exists(near) else path


def _text(key: bytes) -> str:
    return repr(key.decode(errors="backslashreplace"))
