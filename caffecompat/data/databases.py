"""The `Data` layer: batches from LMDB and LevelDB databases of Datums."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from caffecompat import glog
from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.augment.sample import Sample
from caffecompat.data.augmenting_reader import AugmentingReader
from caffecompat.data.loaded_source import LoadedSource
from caffecompat.data.records import Records
from caffecompat.data.share import ALL, Share
from caffecompat.data.source import DataError, Request, Shape, Source, register_source
from caffecompat.data.transform import Window
from caffecompat.formats.datum import Datum, DatumError, decode_datum
from caffecompat.formats.picture import Rows
from caffecompat.resumable import State, generator_state, restore_generator
from caffecompat.schema import pb

__all__ = ["DataReader", "DataRecord", "decoded", "prefetch_depth"]

_MOST_PREFETCH = 1000


# Raw pictures up to this size are read many at once: a digit takes 2 us so, 25 us one by one.
_SMALL = 1 << 14


class DataRecord(NamedTuple):
    """One Datum, or several raw ones with the same head (the bytes before the pixels), one after another."""

    keys: list[bytes]
    values: list[bytes]
    draw: Any


class _Sample(NamedTuple):
    """One picture (H, W, C) or several on top of each other (n*H, W, C), and their labels."""

    augmented: Augmented
    labels: list[int]


class DataReader(AugmentingReader):
    """Datums in key order, over and over; a batch may straddle the end (BVLC data_layer.cpp).

    With `cache` and `shuffle` (Jacinto) a TRAIN layer reads them in a new random order each time round.

    Tops: data (N, C, H, W) and, when there are two, label (N).
    """

    def __init__(self, request: Request, augmentation: Augmentation | None = None) -> None:
        param = request.layer.data_param
        self._labeled = request.tops(1, 2) == 2
        self._augmentation = augmentation or Augmentation(request)
        self._random = request.generator()
        self.batch_size = _batch_size(param.batch_size, "data_param")
        backend = pb.DataParameter.DB.Name(param.backend)
        database = request.open_database("data_param.source", param.source, backend)
        self._path = database.path
        if not len(database):
            raise DataError(f"the database {self._path} holds no records")
        self.records = len(database)
        # Of its own: the order must not depend on how many records are taken at once.
        self._order = random.Random(self._random.getrandbits(64)) if self._shuffles(request, param) else None
        self._records = Records(database, self._order)
        if param.rand_skip:
            glog.warning(f"data_param.rand_skip of {request.layer.name} has no effect, as in Caffe", "data_layer.cpp:1")

    @staticmethod
    def _shuffles(request: Request, param: pb.DataParameter) -> bool:
        if param.shuffle and request.train:
            if param.cache:
                return True
            glog.warning(f"data_param.shuffle of {request.layer.name} has no effect without cache: true, as in NVCaffe",
                         "data_layer.cpp:1")  # fmt: skip
        return False

    def first(self) -> DataRecord:
        """The first record, left in its place."""
        key, value = self._records.first()
        return DataRecord([key], [value], None)

    def take(self, count: int) -> list[DataRecord]:
        return self.take_of(ALL, count)

    def take_of(self, share: Share, count: int) -> list[DataRecord]:
        return self._drawn(self._records.next_of(share, count), share)

    def _drawn(self, found: list[tuple[bytes, bytes]], share: Share) -> list[DataRecord]:
        """The records of a share, with their random numbers."""
        if self._augmentation.same_for_all and len(found[0][1]) <= _SMALL:
            return _runs(found)
        return self._one_by_one(found, share)

    def _one_by_one(self, found: list[tuple[bytes, bytes]], share: Share) -> list[DataRecord]:
        draws = share.of([self._draw() for _ in range(share.size * len(found))])
        return [DataRecord([key], [value], draw) for (key, value), draw in zip(found, draws, strict=True)]

    def redrawn(self, record: DataRecord) -> DataRecord:
        return record._replace(draw=self._draw())

    def _draw(self) -> Any:
        """The random numbers of the next record."""
        return self._augmentation.draw(self._random)

    def state(self) -> State:
        order = {} if self._order is None else {"order": generator_state(self._order)}
        return {"records": self._records.state(), "random": generator_state(self._random), **order}

    def restore(self, state: State) -> list[str]:
        restore_generator(self._random, state["random"])
        if self._order is not None and "order" in state:
            restore_generator(self._order, state["order"])
        return self._records.restore(state["records"])

    def rows(self, record: DataRecord) -> int:
        return len(record.values)

    def read(self, record: DataRecord) -> Any:
        try:
            datum = decode_datum(record.values[0])
            if len(record.values) > 1:
                return _stack(datum, record.values)
            sample = decoded(datum, self._augmentation.transformer.force, self._augmentation.rows(record.draw))
        except DatumError as error:
            raise DataError(f"{self.describe(record)}: {error}") from None
        return _Sample(self._augmentation(sample, record.draw), [datum.label or 0])

    def shapes(self, sample: Any) -> list[Shape]:
        height, width, channels = sample.augmented.shape
        shape = height // len(sample.labels), width, channels
        return [shape, ()] if self._labeled else [shape]

    def write_labels(self, sample: Any, arrays: Sequence[np.ndarray], at: int) -> None:
        if self._labeled:
            arrays[0][at : at + len(sample.labels)] = sample.labels

    def row(self, record: DataRecord, row: int) -> DataRecord:
        return DataRecord([record.keys[row]], [record.values[row]], record.draw)

    def describe(self, record: DataRecord) -> str:
        return f"{self._path}, record {record.keys[0].decode(errors='backslashreplace')!r}"

    def close(self) -> None:
        self._records.close()


def decoded(datum: Datum, color: bool | None, wanted: Rows | None = None) -> Sample:
    """(H, W, C): encoded as decoded, raw with its channels interleaved.

    Args:
        color: for encoded ones, as in Caffe.
        wanted: the rows that are looked at.
    """
    if datum.encoded:
        picture, height = datum.rows(color, wanted)
        if picture.dtype != np.uint8:
            raise DatumError("the picture has 16 bits a channel; Caffe takes 8")
        return Sample.of_rows(picture, height)
    planes = datum.array()
    if not planes.size:
        raise DatumError("the record holds no picture")
    if len(planes) == 1:
        return Sample(planes[0][:, :, None])
    import cv2

    return Sample(cv2.merge(list(planes)))


def _runs(found: list[tuple[bytes, bytes]]) -> list[DataRecord]:
    """The records, those put together that follow each other and differ in pixels and label only."""
    records: list[DataRecord] = []
    head, tail = b"\0", 0
    for key, value in found:
        if records and value.startswith(head) and len(value) == tail + 2 and value[tail] == _LABEL and value[-1] < 0x80:
            records[-1].keys.append(key)
            records[-1].values.append(value)
            continue
        records.append(DataRecord([key], [value], None))
        start, tail = _pixels(value)
        head = value[:start] if start else b"\0"
    return records


_LABEL = 0x28  # the tag of Datum.label; a label below 128 is the one byte after it


def _pixels(value: bytes) -> tuple[int, int]:
    """Where a raw uint8 Datum's pixels begin and end, if only a label of one byte follows them; or (0, 0)."""
    try:
        datum = decode_datum(value)
    except DatumError:
        return 0, 0
    size = len(datum.data or b"")
    end = len(value) - 2
    start = end - size
    if not size or start < 0 or datum.encoded or value[start:end] != datum.data or value[end] != _LABEL:
        return 0, 0
    return start, end


def _stack(datum: Datum, values: list[bytes]) -> _Sample:
    """The pictures of a run on top of each other; `datum` is its first."""
    channels, height, width = datum.array().shape
    size = channels * height * width
    raw = np.frombuffer(b"".join([value[-2 - size : -2] for value in values]), np.uint8)
    planes = raw.reshape(len(values), channels, height, width)
    picture = np.ascontiguousarray(planes.transpose(0, 2, 3, 1)).reshape(-1, width, channels)
    window = Window(0, 0, picture.shape[0], width, False)
    return _Sample(Augmented(picture, None, None, window, (height, width)), [value[-1] for value in values])


def _batch_size(size: int, where: str) -> int:
    if size < 1:
        raise DataError(f"{where}.batch_size must be at least 1, it is {size}")
    return size


def prefetch_depth(param: pb.LayerParameter) -> int:
    """How many batches to read ahead: data_param.prefetch, for picture layers too; 4 where it is not given.

    Raises:
        DataError: so many that no memory holds them.
    """
    depth = param.data_param.prefetch or 4
    if depth > _MOST_PREFETCH:
        raise DataError(f"data_param.prefetch must be at most {_MOST_PREFETCH} batches, it is {depth}")
    return int(depth)


@register_source("Data")
def _data(request: Request) -> Source:
    reader = DataReader(request)
    param = request.layer
    threads = param.data_param.threads
    return LoadedSource(reader, reader.first(), depth=prefetch_depth(param), threads=threads, share=request.share)
