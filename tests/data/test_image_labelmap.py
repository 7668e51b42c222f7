"""ImageLabelmapData: HED's and RCF's pairs of pictures and edge maps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.placeholder import placeholder
from caffecompat.forks import Fork
from tests.data.batches import TRAIN, layer, picture, refuses, source, write_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of 12x10 whose maps are the pictures' own first channel, and a list of them."""
    for k in range(2):
        pixels = picture(12, 10, seed=k)
        pixels[0, :4, 0] = (0, 127, 128, 255)
        write_picture(tmp_path / f"{k}.png", pixels)
        write_picture(tmp_path / f"map{k}.png", pixels[:, :, :1])
    (tmp_path / "pairs.lst").write_text("0.png map0.png\n1.png map1.png\n")
    return tmp_path


def fields(folder: Path, more: str = "", transform: str = "", batch: int = 2) -> str:
    return (
        f'name: "d" type: "ImageLabelmapData" top: "data" top: "label" image_data_param {{ '
        f'source: "{folder}/pairs.lst" root_folder: "{folder}/" batch_size: {batch} {more} }} '
        f"transform_param {{ {transform} }}"
    )


def gray(folder: Path, number: int) -> np.ndarray:
    return cv2.imread(str(folder / f"map{number}.png"), cv2.IMREAD_GRAYSCALE)


def labels_of(values: np.ndarray, fork: Fork) -> np.ndarray:
    """HED: OpenCV's division of 8-bit pictures, which rounds; RCF: fractions, of which those above one half are 1."""
    if fork is Fork.HED:
        return np.rint(values / 255).astype(np.float32)
    parts = values.astype(np.float32) / np.float32(255)
    return np.where(parts > 0.5, np.float32(1), parts)


@pytest.mark.parametrize("fork", [Fork.HED, Fork.RCF])
def test_labels(folder: Path, fork: Fork) -> None:
    with source(fields(folder), fork=fork) as made:
        assert made.top_shapes == [(2, 3, 12, 10), (2, 1, 12, 10)]
        data, label = made.next()
    assert label.dtype == np.float32
    for k in range(2):
        np.testing.assert_allclose(label[k, 0], labels_of(gray(folder, k), fork), rtol=1e-6)
        np.testing.assert_array_equal(data[k], cv2.imread(str(folder / f"{k}.png")).transpose(2, 0, 1))
    first = label[0, 0, 0, :4].tolist()
    assert first[0] == 0 and first[2:] == [1, 1]
    assert first[1] == (0 if fork is Fork.HED else pytest.approx(127 / 255))


@pytest.mark.parametrize("fork", [Fork.HED, Fork.RCF])
def test_both_are_resized_before_labels_are_made(folder: Path, fork: Fork) -> None:
    with source(fields(folder, "new_height: 6 new_width: 8"), fork=fork) as made:
        label = made.next()[1]
    np.testing.assert_allclose(label[0, 0], labels_of(cv2.resize(gray(folder, 0), (8, 6)), fork), rtol=1e-6)


def test_crop_and_mirror_are_the_same_for_both(folder: Path) -> None:
    with source(
        fields(folder, transform="crop_size: 5 mirror: true mean_value: 100 scale: 0.5"), TRAIN, Fork.HED
    ) as made:
        assert made.top_shapes == [(2, 3, 5, 5), (2, 1, 5, 5)]
        batches = [made.next() for _ in range(20)]
    for data, label in batches:
        np.testing.assert_array_equal(data[:, :1] * 2 + 100 >= 128, label == 1)
    assert len({data.tobytes() for data, _ in batches}) > 10


def test_pictures_of_different_sizes_come_one_by_one(folder: Path) -> None:
    write_picture(folder / "1.png", picture(7, 9, seed=5))
    write_picture(folder / "map1.png", picture(7, 9, 1, seed=6))
    with source(fields(folder, batch=1), fork=Fork.RCF) as made:
        shapes = [[part.shape for part in made.next()] for _ in range(3)]
    assert shapes[0] == shapes[2] == [(1, 3, 12, 10), (1, 1, 12, 10)] and shapes[1] == [(1, 3, 7, 9), (1, 1, 7, 9)]


def test_gray_pictures(folder: Path) -> None:
    with source(fields(folder, "is_color: false"), fork=Fork.HED) as made:
        assert made.top_shapes == [(2, 1, 12, 10), (2, 1, 12, 10)]


@pytest.mark.parametrize("more", ["", "new_height: 6 new_width: 6"])
def test_a_map_of_another_size_is_an_error_also_where_both_are_resized(folder: Path, more: str) -> None:
    write_picture(folder / "map1.png", picture(12, 9, 1))
    told = r"pairs\.lst:2: the picture 1\.png is 12x10, its label map1\.png is 12x9"
    with source(fields(folder, more), fork=Fork.HED) as made, pytest.raises(DataError, match=told):
        made.next()


def test_it_has_two_tops(folder: Path) -> None:
    refuses(fields(folder).replace('top: "label"', ""), r"ImageLabelmapData has 2 top\(s\), this layer has 1", Fork.HED)


def test_shapes_without_the_data(folder: Path) -> None:
    made = placeholder(layer(fields(folder)), (20, 30))
    assert made.top_shapes == [(2, 3, 20, 30), (2, 1, 20, 30)]
