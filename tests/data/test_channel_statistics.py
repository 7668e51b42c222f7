"""Mean and deviation of the channels of data sets, against NumPy's of all pixels at once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.data.channel_statistics import statistics_of_database, statistics_of_files
from caffecompat.data.database_plan import build_database
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum

SHAPES = [(5, 7), (16, 3), (4, 4)]


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Three pictures of several sizes, 0.png to 2.png, and the list list.txt of them."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(1)
    made = [generator.integers(0, 256, (*shape, 3), np.uint8) for shape in SHAPES]
    for at, picture in enumerate(made):
        cv2.imwrite(f"{at}.png", picture)
    Path("list.txt").write_text("".join(f"{at}.png {at}\n" for at in range(len(made))))
    return made


def _expected(pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.concatenate([picture.reshape(-1, picture.shape[2]) for picture in pictures]).astype(float)
    return pixels.mean(0), pixels.std(0)


def test_files(pictures: list[np.ndarray]) -> None:
    steps: list[int] = []
    found = statistics_of_files([(f"{at}.png", "") for at in range(3)], on_progress=steps.append)
    mean, std = _expected(pictures)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(found.std, std, rtol=1e-9)
    assert (found.pictures, steps) == (3, [1, 2, 3])
    gray = [cv2.imread(f"{at}.png", cv2.IMREAD_GRAYSCALE)[:, :, None] for at in range(3)]
    found = statistics_of_files([(f"{at}.png", "") for at in range(3)], color=False)
    np.testing.assert_allclose((found.mean, found.std), _expected(gray), rtol=1e-9)


@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_databases(pictures: list[np.ndarray], encoding: str) -> None:
    build_database("list.txt", "db", encoding=encoding)
    with open_database("db") as database:
        found = statistics_of_database(database)
    np.testing.assert_allclose((found.mean, found.std), _expected(pictures), rtol=1e-9)


def test_records_of_floats(tmp_path: Path) -> None:
    values = np.random.default_rng(2).standard_normal((2, 3, 4)).astype(np.float32)
    with open_database(tmp_path / "db", "lmdb", "w") as database:
        database.put([(b"0", encode_datum(Datum.from_array(values)))])
    with open_database(tmp_path / "db") as database:
        found = statistics_of_database(database)
    np.testing.assert_allclose(found.mean, values.mean((1, 2), dtype=float), rtol=1e-6)
    np.testing.assert_allclose(found.std, values.std((1, 2), dtype=float), rtol=1e-6)


def test_mistakes(pictures: list[np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(CaffeCompatError, match=r"list\.txt:4: cannot read the picture gone\.png"):
        statistics_of_files([("gone.png", "list.txt:4: ")])
    with pytest.raises(CaffeCompatError, match="no pictures"):
        statistics_of_files([])
    with open_database("db", "lmdb", "w") as database:
        for at, channels in enumerate((1, 3)):
            datum = Datum.from_array(np.zeros((channels, 2, 2), np.uint8))
            database.put([(b"%d" % at, encode_datum(datum))])
    with open_database("db") as database, pytest.raises(CaffeCompatError, match="1 and of 3 channels are mixed"):
        statistics_of_database(database)
