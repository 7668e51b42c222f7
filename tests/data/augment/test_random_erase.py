"""`random_erase_param` against timm's RandomErasing."""

from __future__ import annotations

import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.augment.random_erase import RandomErase
from caffecompat.schema import parse_text, pb
from tests.data.augment.references import REFERENCES, kolmogorov


def made(fields: str) -> RandomErase:
    return RandomErase(parse_text(fields, pb.RandomEraseParameter()))


def erased(fields: str, size: tuple[int, int] = (64, 80), times: int = 2000) -> np.ndarray:
    """(times, 2): share of the picture erased and height / width of what is around it."""
    erase, generator = made(fields), np.random.default_rng(0)
    rows = []
    for _ in range(times):
        pixels = np.full((*size, 3), 9, np.float32)
        erase(pixels, generator)
        gone = pixels[:, :, 0] != 9
        rows.append((gone.mean(), gone.any(1).sum() / max(1, gone.any(0).sum())))
    return np.array(rows)


@pytest.mark.parametrize(
    ("fields", "recorded"), [("prob: 1", "erased 1"), ("prob: 1 mode: PIXEL count: 3", "erased 3")]
)
def test_areas_and_aspects_are_distributed_as_timms(fields: str, recorded: str) -> None:
    found = erased(fields)
    for column in range(2):
        assert kolmogorov(found[:, column], REFERENCES[recorded][:, column]) < 1.95


def test_areas_are_uniform_and_log_aspects_too() -> None:
    found = erased("prob: 1 min_area: 0.1 max_area: 0.2 min_aspect: 0.5", (300, 300))
    assert kolmogorov(found[:, 0], np.linspace(0.1, 0.2, 5000)) < 1.95
    assert kolmogorov(np.log(found[:, 1]), np.linspace(np.log(0.5), np.log(2), 5000)) < 1.95


def test_places_are_uniform() -> None:
    erase, generator = made("prob: 1 min_area: 0.04 max_area: 0.04 min_aspect: 1"), np.random.default_rng(0)
    tops = []
    for _ in range(1500):
        pixels = np.ones((50, 50, 1), np.float32)
        erase(pixels, generator)
        tops.append(np.nonzero((pixels == 0).any((1, 2)))[0][0])
    counts = np.bincount(tops, minlength=41)
    expected = 1500 / 41
    assert len(counts) == 41 and ((counts - expected) ** 2 / expected).sum() < 73.4  # chi square, 40 degrees, 0.1%


def test_probability() -> None:
    assert 0.26 < (erased("prob: 0.3", times=1500)[:, 0] > 0).mean() < 0.34
    assert 0.46 < (erased("", times=1500)[:, 0] > 0).mean() < 0.54  # timm's default
    assert (erased("prob: 0", times=50)[:, 0] == 0).all()


def test_what_is_put_there() -> None:
    values: dict[str, list[np.ndarray]] = {mode: [] for mode in ("CONST", "RAND", "PIXEL")}
    for mode, found in values.items():
        erase, generator = made(f"prob: 1 mode: {mode}"), np.random.default_rng(0)
        for _ in range(300):
            pixels = np.full((40, 40, 3), 99, np.float32)
            erase(pixels, generator)
            found.append(pixels[(pixels != 99).all(2)])
    assert all((piece == 0).all() for piece in values["CONST"])
    assert all((piece == piece[0]).all() for piece in values["RAND"])
    assert len({tuple(piece[0]) for piece in values["RAND"]}) == 300
    single = np.concatenate([piece[0] for piece in values["RAND"]])
    many = np.concatenate([piece.ravel() for piece in values["PIXEL"]])
    for numbers in (single, many):
        assert abs(numbers.mean()) < 0.12 and 0.9 < numbers.std() < 1.1
    assert len(np.unique(values["PIXEL"][0])) > 0.99 * values["PIXEL"][0].size


def test_from_one_to_count_rectangles_share_the_area() -> None:
    whole = erased("prob: 1 min_area: 0.2 max_area: 0.2", (200, 200), 300)[:, 0]
    shared = erased("prob: 1 min_area: 0.2 max_area: 0.2 count: 4", (200, 200), 300)[:, 0]
    np.testing.assert_allclose(whole, 0.2, atol=0.01)
    assert shared.max() < 0.21 and (shared > 0.195).sum() > 75 and (shared < 0.19).any()  # rectangles overlap


def test_nothing_fits() -> None:
    """After 10 attempts the picture stays, as in timm."""
    pixels = np.ones((8, 8, 3), np.float32)
    made("prob: 1 min_area: 1 max_area: 1")(pixels, np.random.default_rng(0))
    assert (pixels == 1).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("prob: 1.5", "prob must be from 0 to 1, it is 1.5"),
        ("count: 0", "count must be from 1 to 1000, it is 0"),
        ("count: 4000000000", "count must be from 1 to 1000"),
        ("prob: nan", "prob must be from 0 to 1, it is nan"),
        ("max_area: nan", "found 0.02 and nan"),
        ("min_aspect: nan", "it is nan"),
        ("min_area: 0.5", "needs 0 <= min_area <= max_area <= 1, found 0.5 and 0.333333"),
        ("max_area: 2", "found 0.02 and 2"),
        ("min_aspect: 0", r"min_aspect must be in \(0, 1\], it is 0"),
        ("min_aspect: 3", r"min_aspect must be in \(0, 1\], it is 3"),
    ],
)
def test_mistakes(fields: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        made(fields)
