"""distort_param, rand_augment_param and random_erase_param in every layer that reads pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffecompat.data import DataError, seed
from caffecompat.formats.annotated_datum import AnnotatedDatum, encode_annotated_datum
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum
from tests.data.batches import TEST, TRAIN, make_database, picture, source, write_picture

COUNT, HEIGHT, WIDTH = 4, 24, 30
LISTED = ("ImageData", "ImageSegData", "ImageSegData3", "DenseImageData", "ImageLabelListData")
DATABASES = ("Data", "AnnotatedData", "ImageLabelData")
WITH_LABELS = ("ImageSegData", "ImageSegData3", "DenseImageData", "ImageLabelData", "ImageLabelListData")
DISTORT = "distort_param { mode: TORCHVISION brightness_delta: 0.5 hue_delta: 0.2 }"
MOVE = 'rand_augment_param { policy: "rand-m10-p1-n1-tweights" }'
ERASE = "random_erase_param { prob: 1 mode: CONST min_area: 0.2 }"


def pixels(number: int) -> np.ndarray:
    """A picture without black."""
    return picture(HEIGHT, WIDTH, seed=number) // 2 + np.uint8(100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures, whose label pictures are their first channel, in lists and in databases."""
    folder = tmp_path_factory.mktemp("pictures")
    pictures = [pixels(number) for number in range(COUNT)]
    for number, picture_ in enumerate(pictures):
        write_picture(folder / f"{number}.png", picture_)
        write_picture(folder / f"label{number}.png", picture_[:, :, :1])
    names = range(COUNT)
    (folder / "list.txt").write_text("".join(f"{k}.png {k}\n" for k in names))
    (folder / "pairs.txt").write_text("".join(f"{k}.png label{k}.png\n" for k in names))
    (folder / "pictures.txt").write_text("".join(f"{k}.png\n" for k in names))
    (folder / "labels.txt").write_text("".join(f"label{k}.png\n" for k in names))
    make_database(folder / "db", pictures)
    make_database(folder / "labels", [picture_[:, :, :1] for picture_ in pictures])
    objects = np.array([[1, 0, 0.25, 0.25, 0.5, 0.5, 0]], np.float32)
    data = [Datum.from_array(np.ascontiguousarray(picture_.transpose(2, 0, 1)), 0) for picture_ in pictures]
    with open_database(folder / "boxes", "lmdb", "w") as made:
        made.put([(b"%d" % k, encode_annotated_datum(AnnotatedDatum(datum, objects))) for k, datum in enumerate(data)])
    return folder


def text(folder: Path, kind: str, transform: str) -> str:
    database = f'source: "{folder}/%s" backend: LMDB batch_size: {COUNT}'
    listed = f'source: "{folder}/%s" root_folder: "{folder}/" batch_size: {COUNT}'
    two = 'image_list_path: "%s" label_list_path: "%s"'
    layer = {
        "Data": f"data_param {{ {database % 'db'} }}",
        "AnnotatedData": f"data_param {{ {database % 'boxes'} }}",
        "ImageData": f"image_data_param {{ {listed % 'list.txt'} }}",
        "ImageSegData": f"image_data_param {{ {listed % 'pairs.txt'} }}",
        "ImageSegData3": f'image_data_param {{ {listed % "pairs.txt"} label_type: PIXEL }} top: "size"',
        "DenseImageData": f"dense_image_data_param {{ {listed % 'pairs.txt'} }}",
        "ImageLabelData": f"image_label_data_param {{ {two % (folder / 'db', folder / 'labels')} backend: LMDB "
        f"batch_size: {COUNT} }}",
        "ImageLabelListData": f"image_label_data_param {{ {two % (folder / 'pictures.txt', folder / 'labels.txt')} "
        f'image_dir: "{folder}/" label_dir: "{folder}/" batch_size: {COUNT} }}',
    }[kind]
    return f'type: "{kind.removesuffix("3")}" top: "data" top: "label" {layer} transform_param {{ {transform} }}'


def batches(folder: Path, kind: str, transform: str, phase: int = TRAIN, times: int = 1) -> list[tuple[Any, ...]]:
    """As rows of pictures (N, H, W, C) and what the other tops have."""
    seed(3)
    try:
        with source(text(folder, kind, transform), phase) as made:
            return [(data.transpose(0, 2, 3, 1), *rest) for data, *rest in (made.next() for _ in range(times))]
    finally:
        seed(None)


def expected() -> np.ndarray:
    return np.stack([pixels(number) for number in range(COUNT)])


KINDS = [*LISTED, *DATABASES]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("phase", [TRAIN, TEST])
def test_distortion_in_both_phases(folder: Path, kind: str, phase: int) -> None:
    [(data, *labels)] = batches(folder, kind, DISTORT, phase)
    assert data.shape == (COUNT, HEIGHT, WIDTH, 3)
    assert all((row != whole).mean() > 0.3 for row, whole in zip(data, expected(), strict=True))
    [(_, *before)] = batches(folder, kind, "", phase)
    for label, other in zip(labels, before, strict=True):
        np.testing.assert_array_equal(label, other)


@pytest.mark.parametrize("kind", KINDS)
def test_ssds_distortion(folder: Path, kind: str) -> None:
    """One number is added to each picture."""
    [(data, *_)] = batches(folder, kind, "distort_param { brightness_prob: 1 brightness_delta: 20 }")
    differences = data - expected()
    assert all(len(np.unique(row)) == 1 for row in differences) and len(np.unique(differences)) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_rand_augment_and_erasing_are_of_training(folder: Path, kind: str) -> None:
    for transform in (MOVE, ERASE):
        [(data, *_)] = batches(folder, kind, transform, TEST)
        np.testing.assert_array_equal(data, expected())
        assert all((np.array(row) != expected()).mean() > 0.02 for row, *_ in batches(folder, kind, transform))
    with pytest.raises(DataError, match="'x3' is unknown"):
        batches(folder, kind, 'rand_augment_param { policy: "rand-x3" }', TEST)


@pytest.mark.parametrize("kind", WITH_LABELS)
def test_label_pictures_move_with_their_pictures(folder: Path, kind: str) -> None:
    """Labels are the pictures' first channel; both are filled with 255 and 7 where nothing of them lies."""
    transform = f"{MOVE} mean_value: 7"
    moved = 0
    for data, label, *_ in batches(folder, kind, transform, times=20):
        for row, marks in zip(data + 7, label.transpose(0, 2, 3, 1)[:, :, :, 0], strict=True):
            outside = marks == 255
            if not outside.any():
                continue  # a color operation, or the smallest of moves
            moved += 1
            assert (row[outside] == 7).mean() > 0.9
            assert (row[~outside] == 7).mean() < 0.1
    assert moved > 30


def test_boxes_move_with_their_pictures(folder: Path) -> None:
    seen = set()
    for _, label in batches(folder, "AnnotatedData", MOVE, times=10):
        for row in label[0, 0]:
            x1, y1, x2, y2 = row[3:7]
            assert 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
            seen.add((round(float(x1), 2), round(float(y1), 2)))
    assert len(seen) > 4


@pytest.mark.parametrize("kind", KINDS)
def test_erasing_comes_after_the_mean(folder: Path, kind: str) -> None:
    for data, *labels in batches(folder, kind, f"{ERASE} mean_value: 30 scale: 0.5"):
        for row, whole in zip(data, expected(), strict=True):
            erased = (row == 0).all(2)
            assert 0.15 < erased.mean() < 0.4
            np.testing.assert_array_equal(row[~erased], ((whole - 30.0) / 2)[~erased])
        if kind in WITH_LABELS:
            assert (np.array(labels[0]) != 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_goes_on_draws_the_same(folder: Path, kind: str) -> None:
    layer = text(folder, kind, f"{DISTORT} {MOVE} {ERASE} mirror: true crop_size: 16")
    with source(layer, TRAIN) as made:
        made.next()
        state = made.state()
        wanted = [made.next() for _ in range(3)]
        with source(layer, TRAIN) as other:
            other.restore(state)
            for batch in wanted:
                for one, two in zip(batch, other.next(), strict=True):
                    np.testing.assert_array_equal(one, two)


def test_pictures_differ_from_one_another_and_each_time(folder: Path) -> None:
    found = batches(folder, "Data", "distort_param { brightness_prob: 1 brightness_delta: 20 }", times=5)
    offsets = [float(np.mean(row - whole)) for data, *_ in found for row, whole in zip(data, expected(), strict=True)]
    assert len(set(offsets)) > 10


def test_gray_pictures(folder: Path) -> None:
    """Color operations leave gray pictures as they are, SSD's and torchvision's distortion refuse them."""
    make_database(folder / "gray", [pixels(number)[:, :, :1] for number in range(COUNT)])
    layer = text(folder, "Data", f"{MOVE} {ERASE}").replace(f"{folder}/db", f"{folder}/gray")
    with source(layer, TRAIN) as made:
        assert made.next()[0].shape == (COUNT, 1, HEIGHT, WIDTH)
    with (
        pytest.raises(DataError, match="need three channels"),
        source(layer.replace(MOVE, DISTORT), TRAIN) as made,
    ):
        made.next()


def test_a_layer_of_test_says_what_it_leaves_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    batches(folder, "Data", f"{MOVE} {ERASE} {DISTORT}", TEST)
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if "rand_augment_param is for TRAIN; pictures of TEST stay as they are" in line]
    assert [line for line in said if "random_erase_param is for TRAIN" in line]
    caplog.clear()
    batches(folder, "Data", f"{MOVE} {ERASE}", TRAIN)
    assert not caplog.records
