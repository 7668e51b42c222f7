"""Crops of JPEG files, of which the rows below the crop are not decoded: batches are those of whole pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.formats import picture
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum
from tests.data.batches import TEST, TRAIN, source, write_picture

SIZES = [(120, 90), (150, 70), (121, 160)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """JPEG files, label pictures, a list of both and a database."""
    records = []
    for k, (height, width) in enumerate(SIZES):
        pixels = np.random.default_rng(k).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
        data = bytes(cv2.imencode(".jpg", cv2.resize(pixels, (width, height)))[1])
        (tmp_path / f"{k}.jpg").write_bytes(data)
        write_picture(tmp_path / f"{k}.png", np.random.default_rng(k).integers(0, 9, (height, width, 1), np.uint8))
        records.append((b"%d" % k, encode_datum(Datum(data=data, label=k, encoded=True))))
    (tmp_path / "list.txt").write_text("".join(f"{k}.jpg {k}\n" for k in range(3)))
    (tmp_path / "pairs.txt").write_text("".join(f"{k}.jpg {k}.png\n" for k in range(3)))
    with open_database(tmp_path / "db", "lmdb", "w") as database:
        database.put(records)
    return tmp_path


LISTED = 'image_data_param { source: "FOLDER/%s.txt" root_folder: "FOLDER/" batch_size: 3 }'
LAYERS = {
    "Data": 'type: "Data" data_param { source: "FOLDER/db" backend: LMDB batch_size: 3 }',
    "ImageData": 'type: "ImageData" ' + LISTED % "list",
    "ImageSegData": 'type: "ImageSegData" ' + LISTED % "pairs",
}
TRANSFORMS = [
    "crop_size: 24 mirror: true mean_value: 9",
    "crop_h: 20 crop_w: 50 scale: 0.5",
    "crop_size: 24 random_erase_param { prob: 1 }",
]


@pytest.mark.parametrize("phase", [TRAIN, TEST])
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("layer", LAYERS)
def test_batches_of_crops(
    folder: Path, layer: str, transform: str, phase: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f'name: "d" top: "data" top: "label" {LAYERS[layer].replace("FOLDER", str(folder))}'
    text += f" transform_param {{ random_seed: 5 {transform} }}"
    saved = []
    shorten = picture.without_lower_rows

    def watched(data: bytes, rows: int) -> bytearray | None:
        saved.append(shorten(data, rows))
        return saved[-1]

    monkeypatch.setattr(picture, "without_lower_rows", watched)
    with source(text, phase) as made:
        got = [made.next() for _ in range(6)]
    assert any(file is not None for file in saved)
    monkeypatch.setattr(picture, "without_lower_rows", lambda data, rows: None)
    with source(text, phase) as made:
        for batch in got:
            for one, other in zip(batch, made.next(), strict=True):
                np.testing.assert_array_equal(one, other)


def test_a_crop_that_is_too_large_is_an_error_as_before(folder: Path) -> None:
    text = f'name: "d" top: "data" top: "label" {LAYERS["Data"].replace("FOLDER", str(folder))}'
    with pytest.raises(DataError, match="the crop of 130x130 is larger than the picture, 120x90"):
        source(text + " transform_param { crop_size: 130 }").__enter__()


def test_a_label_picture_of_another_height_is_an_error_as_before(folder: Path) -> None:
    write_picture(folder / "1.png", np.zeros((149, 70, 1), np.uint8))
    text = f'name: "d" top: "data" top: "label" {LAYERS["ImageSegData"].replace("FOLDER", str(folder))}'
    with (
        source(text + " transform_param { crop_size: 24 }") as made,
        pytest.raises(DataError, match=r"1\.jpg is 150x70"),
    ):
        made.next()
