"""WindowData: what is cut out of the pictures, how it is sampled, and mistakes."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat import data
from caffecompat.data import DataError
from caffecompat.data.windows import Region, region_of
from caffecompat.formats.mean import write_mean
from tests.data.batches import TRAIN, picture, refuses, source, write_picture

PIXELS = [picture(40, 60, seed=1), picture(30, 30, seed=2)]
CORNERS = {0: (10, 5, 29, 24), 1: (0, 0, 9, 29)}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Of 8 windows that are drawn, some are of either picture."""
    data.seed(1)
    yield
    data.seed(None)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Two pictures, each with an object, a background window, and one between the thresholds."""
    entries = []
    for index, pixels in enumerate(PIXELS):
        path = write_picture(tmp_path / f"{index}.png", pixels)
        height, width = pixels.shape[:2]
        x1, y1, x2, y2 = CORNERS[index]
        windows = [f"{index + 3} 0.9 {x1} {y1} {x2} {y2}", f"9 0.1 {x1} {y1} {x2} {y2}", "9 0.4 0 0 1 1"]
        entries.append("\n".join([f"# {index}", path.name, "3", str(height), str(width), "3", *windows]))
    (tmp_path / "windows.txt").write_text("\n".join(entries) + "\n")
    return tmp_path / "windows.txt"


def text(listed: Path, more: str = "", transform: str = "crop_size: 8") -> str:
    return (
        f'type: "WindowData" top: "data" top: "label" transform_param {{ {transform} }} window_data_param {{ '
        f'source: "{listed}" root_folder: "{listed.parent}/" batch_size: 8 bg_threshold: 0.3 {more} }}'
    )


def test_a_batch_has_background_windows_first_then_objects(listed: Path) -> None:
    with source(text(listed, "fg_fraction: 0.3"), TRAIN) as made:
        assert made.top_shapes == [(8, 3, 8, 8), (8,)]
        for _ in range(3):
            labels = made.next()[1]
            assert (labels[:6] == 0).all() and set(labels[6:]) <= {3, 4}


def test_windows_are_warped_to_the_crop(listed: Path) -> None:
    with source(text(listed, "fg_fraction: 1 scale: 0.5", "crop_size: 8 mean_value: 100"), TRAIN) as made:
        batch, labels = made.next()
    for item, label in zip(batch, labels, strict=True):
        x1, y1, x2, y2 = CORNERS[int(label) - 3]
        part = PIXELS[int(label) - 3][y1 : y2 + 1, x1 : x2 + 1]
        warped = cv2.resize(part, (8, 8)).astype(np.float32)
        np.testing.assert_allclose(item.transpose(1, 2, 0), (warped - 100) * 0.5, atol=1e-5)


def test_a_mean_picture_is_read_in_its_middle(listed: Path) -> None:
    mean = np.random.default_rng(0).random((3, 12, 12), np.float32)
    write_mean(listed.parent / "mean.binaryproto", mean)
    transform = f'crop_size: 8 mean_file: "{listed.parent}/mean.binaryproto"'
    with source(text(listed, "fg_fraction: 1", transform), TRAIN) as made:
        batch, labels = made.next()
    with source(text(listed, "fg_fraction: 1"), TRAIN) as made:
        plain, plain_labels = made.next()
    for label in (3, 4):
        item, raw = batch[labels == label][0], plain[plain_labels == label][0]
        np.testing.assert_allclose(item, raw - mean[:, 2:10, 2:10], atol=1e-4)


def test_what_lies_outside_the_picture_is_zero(listed: Path) -> None:
    """The second picture's object is 10 x 30 at its left edge: enlarged it hangs over on the left."""
    with source(text(listed, "fg_fraction: 1 context_pad: 2", "crop_size: 8 mean_value: 255"), TRAIN) as made:
        batch, labels = made.next()
    item = batch[labels == 4][0]
    region = region_of(CORNERS[1], (30, 30), 8, 2, False, False)
    assert region.left == 2 and region.x1 == 0
    assert (item[:, :, :2] == 0).all() and (item[:, region.top : region.top + region.height, 2:] < 0).any()


def test_mirrored_windows_are_padded_on_the_other_side() -> None:
    plain = region_of((0, 5, 9, 24), (40, 60), 8, 2, False, False)
    mirrored = region_of((0, 5, 9, 24), (40, 60), 8, 2, False, True)
    assert plain.left == 2 and mirrored.left == 0
    assert plain[:6] == mirrored[:6]


@pytest.mark.parametrize(
    ("corners", "pad", "square", "region"),
    [
        ((10, 10, 29, 19), 0, False, Region(10, 10, 29, 19, 100, 100, 0, 0)),
        # half sizes 10 and 5 around (20, 15), enlarged by 100 / 60
        ((10, 10, 29, 19), 20, False, Region(3, 7, 37, 23, 100, 100, 0, 0)),
        # squared: half size 10, so that 5 rows above the picture are missing: 21 rows become 100
        ((10, 0, 29, 9), 0, True, Region(10, 0, 30, 15, 76, 100, 24, 0)),
    ],
)
def test_regions(corners: tuple[int, int, int, int], pad: int, square: bool, region: Region) -> None:
    assert region_of(corners, (100, 100), 100, pad, square, False) == region


def test_a_seed_repeats_the_windows(listed: Path) -> None:
    batches = []
    for _ in range(2):
        data.seed(5)
        with source(text(listed, "cache_images: true", "crop_size: 8 mirror: true"), TRAIN) as made:
            batches.append([made.next() for _ in range(3)])
    data.seed(None)
    for one, other in zip(*batches, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize(
    ("more", "transform", "message"),
    [
        ("", "", "crop_size is missing"),
        ('crop_mode: "stretch"', "crop_size: 8", 'crop_mode must be "warp" or "square"'),
        ("context_pad: 4", "crop_size: 8", "context_pad 4 on each side leaves nothing of crop_size 8"),
        ("fg_fraction: 2", "crop_size: 8", "fg_fraction must lie between 0 and 1"),
        ("fg_threshold: 0.95", "crop_size: 8", "has no foreground windows"),
        ("", 'crop_size: 8 mean_value: 1 mean_file: "x"', "both mean_file and mean_value"),
    ],
)
def test_mistakes(listed: Path, more: str, transform: str, message: str) -> None:
    refuses(text(listed, more, transform), message)


def test_a_window_outside_its_picture_is_named(listed: Path) -> None:
    listed.write_text(listed.read_text().replace("0 0 9 29", "0 0 9 30"))
    with source(text(listed, "fg_fraction: 1"), TRAIN) as made, pytest.raises(DataError) as caught:
        for _ in range(20):
            made.next()
    assert "windows.txt:10: " in str(caught.value) and "(0, 0, 9, 30)" in str(caught.value)
    assert "which is 30 wide and 30 high" in str(caught.value)


def test_a_missing_picture_is_named(listed: Path) -> None:
    (listed.parent / "0.png").unlink()
    refuses(text(listed), "windows.txt:1: cannot read the picture .*0.png: No such file")
