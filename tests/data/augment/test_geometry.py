"""Pictures, label pictures and boxes stay in register, whatever transform_param does to them; what excludes what."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.augment.rand_augment import RandAugment
from caffecompat.data.augment.sample import Sample
from caffecompat.data.source import AugmentError, Request
from caffecompat.data.transform import Draw
from caffecompat.forks import Fork
from caffecompat.formats.mean import write_mean
from tests.data.batches import TEST, TRAIN, layer, picture

# Far from each other, so that no resizing mixes them with anything but the black around them.
BOXES = np.array([[20, 10, 60, 50], [90, 20, 150, 60], [30, 70, 80, 110], [110, 75, 180, 105]], np.float32)
HEIGHT, WIDTH = 120, 200


def augmentation(fields: str, phase: int = TRAIN, kind: str = "Data", fork: Fork = Fork.BVLC) -> Augmentation:
    return Augmentation(Request(layer(f'type: "{kind}" transform_param {{ {fields} }}'), phase, fork))


def painted() -> Sample:
    """Four filled boxes, whose label is their number, and the same boxes as objects."""
    pixels, label = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    objects = np.zeros((4, 7), np.float32)
    for number, (left, top, right, bottom) in enumerate(BOXES.astype(int).tolist(), 1):
        pixels[top:bottom, left:right] = 60 * number
        label[top:bottom, left:right] = number
        objects[number - 1, 0], objects[number - 1, 2:6] = number, BOXES[number - 1]
    objects[:, 2:6] /= [WIDTH, HEIGHT, WIDTH, HEIGHT]
    return Sample(pixels, label, objects)


def extent(mask: np.ndarray) -> np.ndarray:
    """xmin, ymin, xmax, ymax of what is set, in pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def check_register(made: Augmentation, got: Augmented, slack: float) -> int:
    """Boxes enclose what was painted there, in picture and label, within `slack` pixels; how many objects are seen."""
    height, width = got.shape[:2]
    pixels = np.zeros(got.shape, np.float32)
    made.place(got, pixels)
    label = made.label(got)[:, :, 0]
    assert label.shape == (height, width) and got.objects is not None
    for row in got.objects:
        box = row[2:6] * [width, height, width, height]
        if (box[2:] - box[:2]).min() < 5:
            continue  # thinner than what a filter blurs
        number = int(row[0])
        np.testing.assert_allclose(extent(label == number), box, atol=slack)
        inside = np.abs(pixels[:, :, 0] - 60 * number) < 30
        outer = extent(inside & (label == number))
        np.testing.assert_allclose(outer, box, atol=slack + 1)
    return len(got.objects)


@pytest.mark.parametrize(
    ("fields", "slack"),
    [
        ("crop_size: 80 mirror: true", 0.01),
        ("crop_size: 64 mirror: true random_resized_crop_param { min_area: 0.3 }", 1.6),
        ("crop_size: 64 random_aspect_ratio_param { min_area_ratio: 0.3 aspect_ratio_change: 0.8 }", 1.6),
        ("crop_size: 64 mirror: true random_resize_param { min_size: 70 max_size: 140 }", 1.6),
        ("crop_size: 96 mirror: true scale_min: 0.5 scale_max: 2", 2.1),
        ("crop_h: 90 crop_w: 160 scale_factors: 0.5 scale_factors: 1.5", 1.6),
        ("crop_size: 60 short_side: 80 interp_mode: CUBIC", 1.6),
        ("crop_size: 100 expand_param { max_expand_ratio: 2 } mirror: true", 0.01),
        ("resize_param { height: 90 width: 90 } expand_param { max_expand_ratio: 1.5 }", 2.1),
        ("resize_param { height: 90 width: 90 resize_mode: FIT_LARGE_SIZE_AND_PAD }", 2.1),
        ("img_rand_resize_lower: 60 img_rand_resize_upper: 110 crop_size: 50", 2.1),
    ],
)
def test_picture_label_and_boxes_stay_in_register(fields: str, slack: float) -> None:
    made, generator, seen = augmentation(fields), random.Random(4), 0
    for _ in range(40):
        seen += check_register(made, made(painted(), made.draw(generator)), slack)
    assert seen > 40


def test_emit_constraint_decides_which_objects_a_part_keeps() -> None:
    fields = "crop_size: 64 random_resized_crop_param { max_area: 0.4 }"
    generator = random.Random(1)
    all_seen, by_center = (
        sum(
            len(made(painted(), made.draw(generator)).objects)  # type: ignore[arg-type]
            for _ in range(60)
        )
        for made in (augmentation(fields), augmentation(fields + " emit_constraint { emit_type: CENTER }"))
    )
    assert by_center < 0.9 * all_seen


@pytest.mark.parametrize(
    ("kind", "ignored"),
    [("ImageSegData", 255), ("ImageLabelData", 255), ("ImageLabelmapData", 0)],
)
def test_padding_by_mean_and_ignored_label(kind: str, ignored: int) -> None:
    for phase in (TRAIN, TEST):
        made = augmentation("crop_size: 40 scale_min: 0.5 scale_max: 0.5 mean_value: [10, 20, 30]", phase, kind)
        pixels, label = picture(30, 50), picture(30, 50, 1, seed=2) // 32
        got = made(Sample(pixels, label), made.draw(random.Random(0)))
        rows, columns = (15, 25) if phase == TRAIN else (30, 40)  # in TEST nothing is scaled
        out = np.empty(got.shape, np.float32)
        made.place(got, out)
        assert not out[rows:].any() and not out[:, columns:].any() and out[:rows, :columns].any()
        assert (made.label(got)[rows:] == ignored).all() and made.label(got)[:rows, :columns].max() < 8
        assert got.size == (15, 25) if phase == TRAIN else (30, 50)


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ("transform_param { ignore_label: 19", 19),
        ("image_data_param { ignore_label: 7 } transform_param {", 7),
        ("image_data_param { ignore_label: 7 } transform_param { ignore_label: 7", 7),
    ],
)
def test_where_the_ignored_label_comes_from(fields: str, ignored: int) -> None:
    text = f'type: "ImageSegData" {fields} crop_size: 9 scale_min: 1 scale_max: 1 }}'
    made = Augmentation(Request(layer(text), TRAIN))
    got = made(Sample(picture(4, 9), np.zeros((4, 9, 1), np.uint8)), None)
    assert np.unique(made.label(got)[4:]).tolist() == [ignored]


def test_two_ignored_labels_are_refused() -> None:
    text = 'type: "ImageSegData" image_data_param { ignore_label: 7 } transform_param { ignore_label: 8 }'
    with pytest.raises(DataError, match=r"transform_param\.ignore_label is 8, image_data_param\.ignore_label is 7"):
        Augmentation(Request(layer(text), TRAIN))


WAYS = [
    "random_resized_crop_param { }",
    "random_aspect_ratio_param { }",
    "random_resize_param { }",
    "scale_min: 1 scale_max: 2",
    "scale_factors: 1",
    "short_side: 9",
    "resize_param { height: 9 width: 9 }",
    "img_rand_resize_lower: 9 img_rand_resize_upper: 9",
]


@pytest.mark.parametrize("first", range(len(WAYS)))
@pytest.mark.parametrize("second", range(len(WAYS)))
def test_two_ways_to_a_size_are_refused_by_name(first: int, second: int) -> None:
    """But for Jacinto's random resize before resize_param, as NVCaffe has them."""
    if first >= second or (first, second) == (6, 7):
        return
    names = " and ".join(WAYS[k].split()[0].rstrip(":") for k in (first, second))
    for phase in (TRAIN, TEST):
        with pytest.raises(DataError, match=f"transform_param has {names}, two ways to bring pictures to a size"):
            augmentation(f"crop_size: 4 {WAYS[second]} {WAYS[first]}", phase)


def test_xilinx_resize_param_is_no_way_to_a_size() -> None:
    augmentation("crop_size: 4 short_side: 9 resize_param { height: 9 width: 9 }", fork=Fork.XILINX)
    augmentation("resize_param { height: 9 width: 9 } img_rand_resize_lower: 9 img_rand_resize_upper: 9")


def test_a_zero_asks_for_nothing() -> None:
    augmentation("crop_size: 4 short_side: 0 img_rand_resize_lower: 0 img_rand_resize_upper: 0 scale_factors: 1")


def test_padding_beside_a_mean_file_has_its_color(tmp_path: Path) -> None:
    """NVCaffe's mean pictures have the size of the crop."""
    write_mean(
        tmp_path / "mean", np.array([10, 20, 30], np.float32).reshape(3, 1, 1) * np.ones((3, 12, 12), np.float32)
    )
    made = augmentation(f'crop_size: 12 scale_min: 1 scale_max: 1 mean_file: "{tmp_path}/mean"', fork=Fork.JACINTO)
    got = made(Sample(picture(5, 12)), None)
    assert (got.picture[5:] == (10, 20, 30)).all()


def test_random_resized_crop_is_for_training(caplog: pytest.LogCaptureFixture) -> None:
    made = augmentation("crop_size: 4 random_resized_crop_param { }", TEST)
    assert "random_resized_crop_param is for TRAIN" in caplog.text
    pixels = picture(8, 10)
    got = made(Sample(pixels), None)
    out = np.empty(got.shape, np.float32)
    made.place(got, out)
    np.testing.assert_array_equal(out, pixels[2:6, 3:7])


def test_short_side_and_center_crop() -> None:
    """The usual test of a classifier: 256, then the middle 224."""
    import cv2

    made = augmentation("short_side: 256 crop_size: 224 interp_mode: CUBIC", TEST)
    pixels = picture(300, 400)
    got = made(Sample(pixels), None)
    out = np.empty(got.shape, np.float32)
    made.place(got, out)
    want = cv2.resize(pixels, (341, 256), interpolation=cv2.INTER_CUBIC)[16:240, 58:282]
    np.testing.assert_array_equal(out, want)


def test_a_sample_that_does_not_suit_is_an_error_of_the_sample() -> None:
    made = augmentation("crop_size: 40 short_side: 20")
    with pytest.raises(AugmentError, match="crop of 40x40 is larger than the picture, 20x40"):
        made(Sample(picture(10, 20)), None)


@pytest.mark.parametrize("policy", ["rand-m10-n4-p1-inc1", "rand-m9-mstd0.5-inc1-p1"])
def test_rand_augment_leaves_padding_the_mean(policy: str) -> None:
    """It changes the scaled picture's part before that is padded up to the crop."""
    fields = "crop_size: 40 scale_min: 0.5 scale_max: 0.5 mean_value: [10, 20, 30]"
    fields += f' rand_augment_param {{ policy: "{policy}" }}'
    made, generator = augmentation(fields, kind="ImageSegData"), random.Random(0)
    for _ in range(20):
        got = made(Sample(picture(30, 50), np.full((30, 50, 1), 3, np.uint8)), made.draw(generator))
        out = np.empty(got.shape, np.float32)
        made.place(got, out)
        assert not out[15:].any() and not out[:, 25:].any() and out[:15, :25].any()
        assert (made.label(got)[15:] == 255).all() and (made.label(got)[:, 25:] == 255).all()


def test_rand_augment_comes_after_the_crop(tmp_path: Path) -> None:
    """And a mean picture is read at the crop's place."""
    mean = np.random.default_rng(1).random((3, 30, 50), np.float32) * 100
    write_mean(tmp_path / "mean", mean)
    fields = f'crop_size: 20 mirror: true mean_file: "{tmp_path}/mean" rand_augment_param {{ policy: "rand-m9-n3-p1" }}'
    made = augmentation(fields)
    alone = RandAugment.of(layer(f'type: "Data" transform_param {{ {fields} }}'), mean.mean((1, 2)))
    assert alone is not None
    pixels, sides = picture(30, 50), set()
    for number in range(12):
        draw = Draw(number % 2, number, 3 * number, number)
        part = np.s_[number % 11 : number % 11 + 20, 3 * number % 31 : 3 * number % 31 + 20]
        want = alone(Sample(pixels[part]), np.random.default_rng(number)).picture - mean.transpose(1, 2, 0)[part]
        got = made(Sample(pixels), draw)
        out = np.empty(got.shape, np.float32)
        made.place(got, out)
        np.testing.assert_allclose(out, want[:, ::-1] if number % 2 else want, atol=1e-4)
        sides.add(got.window.mirror)
    assert sides == {True, False}
