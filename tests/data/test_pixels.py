"""Batches as bytes until they are all there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat.data.pixels import Pixels
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum
from caffecompat.formats.mean import write_mean
from tests.data.batches import TRAIN, make_database, picture, source

TRANSFORMS = {
    "nothing": "",
    "mean and scale": "mean_value: [104, 117, 123] scale: 0.017",
    "crop, mirror and std": "crop_size: 9 mirror: true mean_value: 100 std_value: [57, 58, 59]",
}


def fields(folder: Path, transform: str) -> str:
    data = f'data_param {{ source: "{folder}" backend: LMDB batch_size: 4 }}'
    return f'name: "d" type: "Data" top: "data" top: "label" {data} transform_param {{ random_seed: 3 {transform} }}'


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_bytes_and_what_makes_floats_of_them(tmp_path: Path, transform: str, encoded: bool) -> None:
    """(pixel - mean) * factor of `next_pixels` is, to the bit, what `next` gives."""
    path = make_database(tmp_path / "db", [picture(12, 10, seed=k) for k in range(7)], encoded=encoded)
    text = fields(path, TRANSFORMS[transform])
    with source(text, TRAIN) as floats, source(text, TRAIN) as pixels:
        for _ in range(5):
            data, label = floats.next()
            raw, same_label = pixels.next_pixels()
            assert isinstance(raw, Pixels) and raw.array.dtype == np.uint8 and raw.linear is not None
            mean, factor = raw.linear
            assert mean.dtype == factor.dtype == np.float32
            made = (raw.array.astype(np.float32) - mean) * factor
            np.testing.assert_array_equal(made.transpose(0, 3, 1, 2), data)
            np.testing.assert_array_equal(same_label, label)


@pytest.mark.parametrize("transform", ["mean_file", "random_erase_param { prob: 1 }"])
def test_what_more_than_a_line_makes_floats_of(tmp_path: Path, transform: str) -> None:
    """A mean picture, and rectangles of random floats: the batch itself writes its floats."""
    path = make_database(tmp_path / "db", [picture(12, 10, seed=k) for k in range(5)])
    if transform == "mean_file":
        write_mean(tmp_path / "mean.binaryproto", np.random.default_rng(1).uniform(90, 130, (3, 12, 10)))
        transform = f'mean_file: "{tmp_path}/mean.binaryproto"'
    text = fields(path, f"crop_size: 9 mirror: true scale: 0.5 {transform}")
    with source(text, TRAIN) as floats, source(text, TRAIN) as pixels:
        for _ in range(3):
            data, raw = floats.next()[0], pixels.next_pixels()[0]
            assert isinstance(raw, Pixels) and raw.linear is None
            out = np.empty(raw.array.shape, np.float32)
            raw.normalize(out)
            np.testing.assert_array_equal(out.transpose(0, 3, 1, 2), data)


def test_bytes_and_floats_in_one_batch(tmp_path: Path) -> None:
    """Records with float_data among records with bytes keep their fractions."""
    values = [np.random.default_rng(k).uniform(0, 255, (3, 5, 4)) for k in range(4)]
    rows = [one.astype(np.float32 if k % 2 else np.uint8) for k, one in enumerate(values)]
    with open_database(tmp_path / "db", "lmdb", "w") as database:
        database.put([(b"%d" % k, encode_datum(Datum.from_array(row, k))) for k, row in enumerate(rows)])
    with source(fields(tmp_path / "db", "mean_value: 100 scale: 0.25")) as made:
        for _ in range(2):
            np.testing.assert_array_equal(made.next()[0], [(row.astype(np.float32) - 100) * 0.25 for row in rows])
    with source(fields(tmp_path / "db", "")) as made:
        raw = made.next_pixels()[0]
        assert isinstance(raw, Pixels) and raw.linear is None
