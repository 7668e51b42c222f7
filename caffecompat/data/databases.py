"""The `Data` layer: batches from LMDB and LevelDB databases of Datums."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from caffecompat import glog
from caffecompat.data.loader import LoadedSource, Reader, Rows
from caffecompat.data.source import DataError, Request, Shape, Source, new_random, register_source
from caffecompat.data.transform import Draw, Transformer
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, DatumError, decode_datum
from caffecompat.schema import pb

__all__ = ["DataReader"]


class _Record(NamedTuple):
    key: bytes
    value: bytes
    draw: Draw | None


class _Sample(NamedTuple):
    picture: np.ndarray
    label: int
    draw: Draw | None


class DataReader(Reader):
    """Datums in key order, over and over; a batch may straddle the end (BVLC data_layer.cpp).

    Tops: data (N, C, H, W) and, when there are two, label (N).
    """

    def __init__(self, request: Request) -> None:
        param = request.layer.data_param
        self._labelled = request.tops(1, 2) == 2
        self._transformer = Transformer(request)
        self._random = new_random()
        self.batch_size = _batch_size(param.batch_size, "data_param")
        self._path = request.find("data_param.source", param.source)
        self._database = open_database(self._path, pb.DataParameter.DB.Name(param.backend))
        if not len(self._database):
            raise DataError(f"the database {self._path} holds no records")
        self._cursor = self._database.cursor()
        if param.rand_skip:
            glog.warning(f"data_param.rand_skip of {request.layer.name} has no effect, as in Caffe", "data_layer.cpp:1")

    def first(self) -> _Record:
        """The first record, left in its place."""
        key, value = self._cursor.read(1)[0]
        self._cursor.rewind()
        return _Record(key, value, None)

    def take(self, count: int) -> list[_Record]:
        records = self._cursor.read(count)
        while len(records) < count:
            self._cursor.rewind()
            records += self._cursor.read(count - len(records))
        return [_Record(key, value, self._transformer.draw(self._random)) for key, value in records]

    def read(self, record: _Record) -> _Sample:
        try:
            datum = decode_datum(record.value)
            picture = _picture(datum, self._transformer.force)
        except DatumError as error:
            raise DataError(f"{self.describe(record)}: {error}") from None
        return _Sample(picture, datum.label or 0, record.draw)

    def shapes(self, sample: _Sample) -> list[Shape]:
        height, width, channels = sample.picture.shape
        shape = self._transformer.output_shape(height, width, channels)
        return [shape, ()] if self._labelled else [shape]

    def write(self, sample: _Sample, rows: Rows) -> None:
        height, width = sample.picture.shape[:2]
        self._transformer.place(sample.picture, self._transformer.window(height, width, sample.draw), rows[0])
        if self._labelled:
            rows[1][...] = sample.label

    def describe(self, record: _Record) -> str:
        return f"{self._path}, record {record.key.decode(errors='backslashreplace')!r}"

    def close(self) -> None:
        self._cursor.close()
        self._database.close()


def _picture(datum: Datum, color: bool | None) -> np.ndarray:
    """(H, W, C): encoded as decoded, raw with its channels interleaved. `color` is for encoded ones, as in Caffe."""
    if datum.encoded:
        picture = datum.image(color)
        if picture.dtype != np.uint8:
            raise DatumError("the picture has 16 bits a channel; Caffe takes 8")
        return picture
    planes = datum.array()
    if not planes.size:
        raise DatumError("the record holds no picture")
    if len(planes) == 1:
        return planes[0][:, :, None]
    import cv2

    return cv2.merge(list(planes))


def _batch_size(size: int, where: str) -> int:
    if size < 1:
        raise DataError(f"{where}.batch_size must be at least 1, it is {size}")
    return size


def prefetch_depth(param: Any) -> int:
    """How many batches to read ahead: data_param.prefetch, for picture layers too; 4 where it is not given."""
    return param.data_param.prefetch or 4


@register_source("Data")
def _data(request: Request) -> Source:
    reader = DataReader(request)
    param = request.layer
    return LoadedSource(reader, reader.first(), depth=prefetch_depth(param), threads=param.data_param.threads)
