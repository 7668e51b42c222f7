"""`ImageLabelData`: pictures and label pictures from two databases, as Jacinto's Caffe reads them."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.augment.sample import Sample
from caffecompat.data.augmenting_reader import AugmentingReader
from caffecompat.data.databases import decoded, prefetch_depth
from caffecompat.data.loaded_source import LoadedSource
from caffecompat.data.records import Records
from caffecompat.data.share import ALL, Share
from caffecompat.data.source import DataError, Request, Shape, Source, register_source
from caffecompat.data.transform import Draw
from caffecompat.formats.database import DatabaseReader
from caffecompat.formats.datum import DatumError, decode_datum
from caffecompat.paths import look_up
from caffecompat.resumable import State, generator_state, restore_generator
from caffecompat.schema import pb

__all__ = ["ImageLabelDataReader"]


class _Record(NamedTuple):
    image: tuple[bytes, bytes]
    label: tuple[bytes, bytes]
    draw: Draw | None


class ImageLabelDataReader(AugmentingReader):
    """The databases `image_list_path` and `label_list_path`, record by record in step (NVCaffe 0.17).

    Tops: data (N, C, H, W), label (N, 1, H, W). Crop, mirror and random resize are the same for both. Labels have no
    mean subtracted; `scale` multiplies them too, as in the fork, whose prototxts leave it at 1. `shuffle` mixes both
    databases alike in TRAIN, again each time round.
    """

    def __init__(self, request: Request) -> None:
        param = request.layer.image_label_data_param
        request.tops(2)
        self.batch_size = param.batch_size
        if self.batch_size < 1:
            raise DataError(f"image_label_data_param.batch_size must be at least 1, it is {self.batch_size}")
        self._augmentation = Augmentation(request, mean_file_allowed=False)
        self._random = request.generator()
        self._image, self._label = (
            _open(request, param, name, getattr(param, name)) for name in ("image_list_path", "label_list_path")
        )
        if len(self._image) != len(self._label) or not len(self._image):
            raise DataError(
                f"{self._image.path} holds {len(self._image)} records and {self._label.path} {len(self._label)}; "
                f"they need as many as each other, and at least one"
            )
        self.records = len(self._image)
        self._orders: list[random.Random] = []  # one each of the two, as long as they are shuffled in step
        if param.shuffle and request.train:
            seed = self._random.getrandbits(64)
            self._orders = [random.Random(seed), random.Random(seed)]
        self._images, self._labels = (
            Records(database, order)
            for database, order in zip((self._image, self._label), self._orders or (None, None), strict=True)
        )

    def first(self) -> _Record:
        """The first record, left in its place."""
        return _Record(self._images.first(), self._labels.first(), None)

    def take(self, count: int) -> list[_Record]:
        return self.take_of(ALL, count)

    def take_of(self, share: Share, count: int) -> list[_Record]:
        images, labels = self._images.next_of(share, count), self._labels.next_of(share, count)
        draws = share.of([self._augmentation.draw(self._random) for _ in range(share.size * count)])
        return list(map(_Record, images, labels, draws))

    def redrawn(self, record: _Record) -> _Record:
        return record._replace(draw=self._augmentation.draw(self._random))

    def state(self) -> State:
        return {
            "images": self._images.state(),
            "labels": self._labels.state(),
            "random": generator_state(self._random),
            "orders": [generator_state(order) for order in self._orders],
        }

    def restore(self, state: State) -> list[str]:
        restore_generator(self._random, state["random"])
        for order, stored in zip(self._orders, state["orders"], strict=False):
            restore_generator(order, stored)
        return self._images.restore(state["images"]) + self._labels.restore(state["labels"])

    def read(self, record: _Record) -> Augmented:
        try:
            picture = decoded(decode_datum(record.image[1]), self._augmentation.transformer.force).picture
        except DatumError as error:
            raise DataError(f"{_name(self._image, record.image)}: {error}") from None
        try:
            label = decoded(decode_datum(record.label[1]), None).picture
        except DatumError as error:
            raise DataError(f"{_name(self._label, record.label)}: {error}") from None
        if label.shape[2] != 1:
            raise DataError(
                f"{_name(self._label, record.label)} has {label.shape[2]} channels; a label picture has one"
            )
        if picture.shape[:2] != label.shape[:2]:
            raise DataError(
                f"{self.describe(record)} is {picture.shape[0]}x{picture.shape[1]} and its label "
                f"{_name(self._label, record.label)} {label.shape[0]}x{label.shape[1]} (height x width)"
            )
        return self._augmentation(Sample(picture, label), record.draw)

    def shapes(self, sample: Augmented) -> list[Shape]:
        return [sample.shape, sample.label_shape]

    def write_labels(self, sample: Augmented, arrays: Sequence[np.ndarray], at: int) -> None:
        np.multiply(self._augmentation.label(sample), self._augmentation.transformer.scale, out=arrays[0][at])

    def describe(self, record: _Record) -> str:
        return _name(self._image, record.image)

    def close(self) -> None:
        self._images.close()
        self._labels.close()


def _open(request: Request, param: pb.ImageLabelDataParameter, field: str, path: str) -> DatabaseReader:
    found = look_up(path, request.relative_to)
    if found is not None and os.path.isfile(found):
        raise DataError(f"{found} is a file, not a database; layers of type ImageLabelListData read lists of files")
    backend = pb.ImageLabelDataParameter.DB.Name(param.backend) if param.HasField("backend") else None
    return request.open_database(f"image_label_data_param.{field}", path, backend)


def _name(database: DatabaseReader, record: tuple[bytes, bytes]) -> str:
    return f"{database.path}, record {record[0].decode(errors='backslashreplace')!r}"


@register_source("ImageLabelData")
def _image_label_data(request: Request) -> Source:
    reader = ImageLabelDataReader(request)
    threads = request.layer.image_label_data_param.threads
    depth = prefetch_depth(request.layer)
    return LoadedSource(reader, reader.first(), depth=depth, threads=threads, share=request.share)
