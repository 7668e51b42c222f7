"""Helpers of the data tests: sources from text, small pictures, small databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffecompat.data import DataError, Source, make_source
from caffecompat.forks import Fork
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum
from caffecompat.formats.picture import encode_picture
from caffecompat.schema import parse_text, pb

TRAIN, TEST = 0, 1


def layer(text: str) -> Any:
    """The LayerParameter of a prototxt text that holds its fields."""
    message = pb.LayerParameter()
    parse_text(text, message)
    return message


@contextmanager
def source(text: str, phase: int = TEST, fork: Fork = Fork.BVLC, relative_to: Path | None = None) -> Iterator[Source]:
    """A source made from the fields of its layer."""
    made = make_source(layer(text), phase, fork, relative_to)
    try:
        yield made
    finally:
        made.close()


def refuses(text: str, message: str, fork: Fork = Fork.BVLC) -> None:
    """The layer cannot be made, and the error matches `message`."""
    with pytest.raises(DataError, match=message):
        make_source(layer(text), TEST, fork)


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """A random (H, W, C) uint8 picture."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def write_picture(path: Path, pixels: np.ndarray) -> Path:
    """Write a PNG."""
    data = encode_picture(pixels, "png")
    assert data is not None
    path.write_bytes(data)
    return path


def make_database(path: Path, pictures: list[np.ndarray], backend: str = "lmdb", *, encoded: bool = False) -> Path:
    """A database of pictures with labels 0, 1, 2, ..., raw or as PNG."""
    records = []
    for k, pixels in enumerate(pictures):
        datum = Datum.from_array(np.ascontiguousarray(pixels.transpose(2, 0, 1)), k)
        if encoded:
            datum = Datum(data=encode_picture(pixels, "png"), label=k, encoded=True)
        records.append((b"%08d" % k, encode_datum(datum)))
    with open_database(path, backend, "w") as database:
        database.put(records)
    return path
