"""What a net sees of its records: their pictures as they are, and as the data layer's transform_param changes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.augmenting_reader import AugmentingReader
from caffecompat.data.loaded_source import LoadedSource
from caffecompat.data.reader import read_sample
from caffecompat.data.source import DataError, make_source, seed
from caffecompat.forks import Fork
from caffecompat.schema import pb

__all__ = ["Seen", "SeenRecord", "augmented_pictures"]


class Seen(NamedTuple):
    """A record as it is in a batch, but for mean, scale and std.

    Attributes:
        picture: (H, W, C) uint8, or floats where the record has these.
        label_picture: (h, w, 1) class numbers, or None.
        objects: rows as `AnnotatedDatum.objects` has them, or None.
        label: the class number, or None.
    """

    picture: np.ndarray
    label_picture: np.ndarray | None
    objects: np.ndarray | None
    label: int | None


class SeenRecord(NamedTuple):
    """A record's name, what it is before transform_param, and what comes of it, each time drawn again."""

    name: str
    original: Seen
    augmented: list[Seen]


def augmented_pictures(
    layer: pb.LayerParameter,
    phase: int | str,
    fork: Fork = Fork.BVLC,
    relative_to: str | os.PathLike[str] | None = None,
    *,
    count: int,
    start: int = 0,
    times: int = 4,
    random_seed: int = 0,
) -> Iterator[SeenRecord]:
    """Go through the records of a data layer in the order in which the net gets them.

    Args:
        layer, phase, fork, relative_to: as for `make_source`.
        count, start: how many records, and how many are left out before them; after the last comes the first again.
        times: how often each is changed.
        random_seed: the same one gives the same pictures, but where transform_param has a random_seed of its own.

    Raises:
        DataError: the layer cannot be made, a record is bad, or the layer has no pictures that are augmented.
    """
    seed(random_seed)
    try:
        with make_source(layer, phase, fork, relative_to) as source:
            reader = _reader(layer, source)
            with make_source(_without_changes(layer), phase, fork, relative_to) as plain:
                before = _reader(layer, plain)
                for number, record in enumerate(reader.take(1)[0] for _ in range(start + count)):
                    if number >= start:
                        chosen = [record] + [reader.redrawn(record) for _ in range(times - 1)]
                        yield SeenRecord(
                            reader.describe(record), _seen(before, record), [_seen(reader, one) for one in chosen]
                        )
    finally:
        seed(None)


def _reader(layer: pb.LayerParameter, source: Any) -> AugmentingReader:
    reader = source.reader if isinstance(source, LoadedSource) else None
    if not isinstance(reader, AugmentingReader):
        raise DataError(f'layer "{layer.name}" ({layer.type}) changes no pictures by a transform_param')
    return reader


def _without_changes(layer: pb.LayerParameter) -> pb.LayerParameter:
    """The layer without what is random, resizes or computes; new_height and new_width stay."""
    plain = pb.LayerParameter()
    plain.CopyFrom(layer)
    plain.ClearField("transform_param")
    for name in ("force_color", "force_gray"):
        setattr(plain.transform_param, name, getattr(layer.transform_param, name))
    for part, names in (
        ("annotated_data_param", ("batch_sampler",)),
        ("dense_image_data_param", ("mirror", "crop_height", "crop_width")),
        ("image_label_data_param", ("scale_prob", "padding", "label_slice")),
    ):
        if layer.HasField(part):
            for name in names:
                getattr(plain, part).ClearField(name)
    return plain


def _seen(reader: AugmentingReader, record: Any) -> Seen:
    """One record, by way of what it fills of a batch."""
    sample, shapes = read_sample(reader, record)
    augmented = reader.augmented(sample)
    row = np.empty(shapes[0], np.float32)
    reader.augmentation.place(augmented, row)
    others = [np.empty((1, *shape), np.float32) for shape in shapes[1:]]
    reader.write_labels(sample, others, 0)
    labels = Augmentation.label(augmented) if augmented.label is not None else None
    label = int(others[0][0]) if others and others[0].ndim == 1 else None
    return Seen(_pixels(reader, augmented, row), labels, augmented.objects, label)


def _pixels(reader: AugmentingReader, augmented: Augmented, row: np.ndarray) -> np.ndarray:
    """The pixels (H, W, C) that mean, scale and std made a row of: a line through what they make of 0 and 255."""
    low, high = np.empty_like(row), np.empty_like(row)
    for value, out in ((0, low), (255, high)):
        reader.augmentation.transformer.place(np.full_like(augmented.picture, value), augmented.window, out)
    pixels: np.ndarray = np.divide((row - low) * 255, high - low, out=np.zeros_like(row), where=high != low)
    if augmented.picture.dtype != np.uint8:
        return pixels
    whole: np.ndarray = pixels.round().clip(0, 255).astype(np.uint8)
    return whole
