"""The records of every layer that augments: as they are, and as the net gets them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.augmented_pictures import SeenRecord, augmented_pictures
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum
from caffecompat.formats.mean import write_mean
from tests.data.batches import TRAIN, layer, make_database, picture
from tests.data.test_augmented_layers import COUNT, LAYERS, PAIR_LAYERS, world

__all__ = ["world"]  # a fixture that every test uses

OWN = {  # what changes pictures beside transform_param
    "AnnotatedData": "annotated_data_param { batch_sampler { sampler { max_scale: 0.5 min_scale: 0.3 } } }",
    "DenseImageData": "dense_image_data_param { mirror: true crop_height: 9 crop_width: 9 }",
    "ImageLabelListData": "image_label_data_param { scale_prob: 1 scale_min: 0.6 scale_max: 0.9 }",
}


def seen(kind: str, transform: str, times: int = 6, own: str = "", start: int = 0) -> list[SeenRecord]:
    message = layer(f"{LAYERS[kind]} transform_param {{ {transform} }}")
    message.MergeFrom(layer(own))
    return list(augmented_pictures(message, TRAIN, count=COUNT, times=times, random_seed=1, start=start))


@pytest.mark.parametrize("kind", LAYERS)
def test_records_as_they_are_and_mirrored(kind: str) -> None:
    records = seen(kind, "mirror: true mean_value: [10, 20, 30] std_value: [50, 60, 70] scale: 0.3")
    assert len(records) == COUNT and all(len(record.augmented) == 6 for record in records)
    sides = set()
    for number, record in enumerate(records):
        want = picture(24 + 4 * number, 36 - 4 * number, seed=number)
        np.testing.assert_array_equal(record.original.picture, want)
        for one in record.augmented:
            side = -1 if np.array_equal(one.picture, want[:, ::-1]) else 1
            sides.add(side)
            np.testing.assert_array_equal(one.picture, want[:, ::side])
            if kind in PAIR_LAYERS:
                assert one.label_picture is not None
                np.testing.assert_array_equal(one.label_picture, want[:, ::side, :1])
            assert one.label == (number if kind in ("Data", "ImageData") else None)
            assert (one.objects is not None) == (kind == "AnnotatedData")
    assert sides == {1, -1}


@pytest.mark.parametrize("kind", LAYERS)
def test_nothing_that_changes_pictures_touches_the_first(kind: str) -> None:
    transform = (
        "crop_size: 8 random_resized_crop_param {} expand_param { max_expand_ratio: 2 } mean_value: 9 "
        'distort_param { mode: TORCHVISION brightness_delta: 0.5 } rand_augment_param { policy: "rand-p1" } '
        "random_erase_param { prob: 1 }"
    )
    own = OWN.get(kind, "")
    if kind == "ImageLabelListData":
        transform = transform.replace("random_resized_crop_param {} expand_param { max_expand_ratio: 2 }", "")
    for number, record in enumerate(seen(kind, transform, own=own)):
        want = picture(24 + 4 * number, 36 - 4 * number, seed=number)
        np.testing.assert_array_equal(record.original.picture, want)
        if record.original.objects is not None:
            assert record.original.objects[:, 2:6].tolist() == [[0.25, 0.25, 0.75, 0.75]]
        versions = {one.picture.tobytes() for one in record.augmented}
        assert len(versions) == 6 and all(one.picture.shape == (8, 8, 3) for one in record.augmented)


def test_a_mean_picture_is_undone(world: Path) -> None:
    mean = np.random.default_rng(0).random((3, 24, 36), np.float32) * 200
    write_mean("mean", mean)
    transform = 'crop_size: 20 mirror: true mean_file: "mean" scale: 0.0078125'
    message = layer(f"{LAYERS['Data']} transform_param {{ {transform} }}")
    (record,) = augmented_pictures(message, TRAIN, count=1, times=8)
    whole = picture(24, 36)
    parts = {
        whole[t : t + 20, x : x + 20][:, ::side].tobytes() for t in range(5) for x in range(17) for side in (1, -1)
    }
    assert parts.issuperset(one.picture.tobytes() for one in record.augmented)


def test_records_are_those_of_the_net_in_their_order() -> None:
    """And a part of them is what it is among all."""
    transform = "crop_size: 8 random_resized_crop_param {}"
    whole, end = seen("ImageData", transform), seen("ImageData", transform, start=COUNT - 1)
    assert [record.name for record in whole] == [f"list.txt:{k + 1}: i{k}.png" for k in range(COUNT)]
    assert [record.name for record in end[:2]] == ["list.txt:4: i3.png", "list.txt:1: i0.png"]
    again = seen("ImageData", transform)
    for first, second in zip(whole, again, strict=True):
        for one, other in zip(first.augmented, second.augmented, strict=True):
            np.testing.assert_array_equal(one.picture, other.picture)


def test_other_channels_and_floats(world: Path) -> None:
    """Gray pictures, and a database of floats, which come as floats."""
    make_database(world / "gray", [picture(9, 12, 1)])
    values = np.random.default_rng(0).normal(size=(3, 9, 12)).astype(np.float32)
    with open_database(world / "floats", "lmdb", "w") as database:
        database.put([(b"0", encode_datum(Datum.from_array(values, 4)))])
    for name, want in (("gray", picture(9, 12, 1)), ("floats", values.transpose(1, 2, 0))):
        text = LAYERS["Data"].replace('"db"', f'"{name}"')
        message = layer(f"{text} transform_param {{ mirror: true mean_value: 3 std_value: 2 }}")
        (record,) = augmented_pictures(message, TRAIN, count=1, times=6, random_seed=1)
        for one in (record.original, *record.augmented):
            sides = [np.allclose(one.picture, want[:, ::side], atol=1e-5) for side in (1, -1)]
            assert any(sides) and one.picture.dtype == want.dtype


def test_mistakes_name_the_record(world: Path) -> None:
    """The second picture is narrower than the crop."""
    with pytest.raises(DataError, match=r"list\.txt:2: i1\.png: the crop of 10x34 is larger than the picture, 28x32"):
        seen("ImageData", "crop_h: 10 crop_w: 34")
    (world / "i1.png").write_bytes(b"nothing")
    with pytest.raises(
        DataError, match=r"list\.txt:2: cannot read the picture i1\.png: it is not a picture, or damaged"
    ):
        seen("ImageData", "")
    with pytest.raises(DataError, match=r'layer "d" \(DummyData\) changes no pictures'):
        message = layer('name: "d" type: "DummyData" top: "a" dummy_data_param { shape { dim: 1 } }')
        list(augmented_pictures(message, TRAIN, count=1))
