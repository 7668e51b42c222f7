from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.augment.random_resize import RandomResize
from caffecompat.data.augment.resize import Resize
from caffecompat.data.augment.sample import Sample
from caffecompat.data.boxes import FULL
from caffecompat.schema import parse_text, pb
from tests.data.batches import picture


def resize(fields: str) -> Resize:
    return Resize(parse_text(fields, pb.ResizeParameter()))


BOXES = np.array([[0.25, 0.5, 0.75, 1.0], [-0.1, 0.2, 1.2, 0.4]], np.float32)


def test_warp_ignores_the_aspect() -> None:
    made, pixels = resize("height: 30 width: 20"), picture(10, 40)
    np.testing.assert_array_equal(made.picture(pixels), cv2.resize(pixels, (20, 30)))
    np.testing.assert_allclose(made.boxes(BOXES, 10, 40), [[0.25, 0.5, 0.75, 1], [0, 0.2, 1, 0.4]])


def test_interpolations_by_number() -> None:
    modes = {"LINEAR": 1, "AREA": 3, "NEAREST": 0, "CUBIC": 2, "LANCZOS4": 4}
    made = resize("height: 9 width: 9 " + " ".join(f"interp_mode: {name}" for name in modes))
    pixels = picture(20, 30)
    assert made.choices == 5
    for choice, flag in enumerate(modes.values()):
        np.testing.assert_array_equal(made.picture(pixels, choice), cv2.resize(pixels, (9, 9), interpolation=flag))


@pytest.mark.parametrize(("size", "want"), [((10, 40), (16, 64)), ((40, 10), (128, 32)), ((20, 40), (16, 32))])
def test_the_shorter_side_fits(size: tuple[int, int], want: tuple[int, int]) -> None:
    made = resize("resize_mode: FIT_SMALL_SIZE height: 16 width: 32")
    assert made.picture(picture(*size)).shape == (*want, 3)
    np.testing.assert_allclose(made.boxes(BOXES[:1], *size), BOXES[:1])


@pytest.mark.parametrize(("size", "rows", "columns"), [((10, 40), (12, 20), (0, 32)), ((40, 10), (0, 32), (12, 20))])
def test_the_longer_side_fits_and_the_rest_is_padded(
    size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    made = resize("resize_mode: FIT_LARGE_SIZE_AND_PAD height: 32 width: 32 pad_value: 7 pad_value: 8 pad_value: 9")
    pixels = np.full((*size, 3), 200, np.uint8)
    got = made.picture(pixels)
    inside = np.zeros((32, 32), bool)
    inside[slice(*rows), slice(*columns)] = True
    assert (got[inside] == 200).all() and (got[~inside] == (7, 8, 9)).all()
    whole = made.boxes(FULL[None], *size)[0] * 32
    np.testing.assert_allclose(whole, [columns[0], rows[0], columns[1], rows[1]])


def test_other_ways_to_pad() -> None:
    fields = "resize_mode: FIT_LARGE_SIZE_AND_PAD height: 8 width: 16 pad_mode: "
    pixels = picture(8, 8)
    for mode, border in (("MIRRORED", cv2.BORDER_REFLECT_101), ("REPEAT_NEAREST", cv2.BORDER_REPLICATE)):
        want = cv2.copyMakeBorder(pixels, 0, 0, 4, 4, border)
        np.testing.assert_array_equal(resize(fields + mode).picture(pixels), want)
    assert resize(fields + "CONSTANT").picture(picture(8, 8, 1))[:, :4].max() == 0


def test_boxes_in_other_units() -> None:
    made = resize("resize_mode: FIT_SMALL_SIZE height: 16 width: 16 height_scale: 8 width_scale: 10")
    got = made.extrapolated(BOXES[:1], 20, 40, FULL)  # resized to 16x32
    np.testing.assert_allclose(got, BOXES[:1] * [3.2, 2, 3.2, 2])
    with pytest.raises(DataError, match="larger than the cropped picture"):
        made.extrapolated(BOXES[:1], 20, 40, np.array([0, 0, 0.2, 1], np.float32))


@pytest.mark.parametrize("fields", ["", "height: 3", "width: 3"])
def test_a_size_is_needed(fields: str) -> None:
    with pytest.raises(DataError, match="needs a height and a width"):
        resize(fields)


def test_too_thin_and_too_many_values() -> None:
    with pytest.raises(DataError, match="too thin"):
        resize("resize_mode: FIT_LARGE_SIZE_AND_PAD height: 4 width: 4").picture(picture(1, 50))
    with pytest.raises(DataError, match=r"2 resize_param.pad_value\(s\) for 3"):
        resize("resize_mode: FIT_LARGE_SIZE_AND_PAD height: 4 width: 4 pad_value: [1, 2]").picture(picture(2, 4))


def random_resize(fields: str) -> RandomResize:
    made = RandomResize.of(parse_text(fields, pb.TransformationParameter()))
    assert made is not None
    return made


chances = np.random.default_rng


class TestJacintosRandomResize:
    def test_the_shorter_side_is_drawn(self) -> None:
        made = random_resize("img_rand_resize_lower: 10 img_rand_resize_upper: 12 allow_upscale: true")
        sizes = {made.size(20, 40, chances(chance)) for chance in range(60)}
        assert sizes == {(10, 20), (11, 22), (12, 24)}
        assert {made.size(40, 20, chances(chance)) for chance in range(60)} == {(20, 10), (22, 11), (24, 12)}

    def test_ratio_and_stretches(self) -> None:
        made = random_resize("rand_resize_ratio_lower: 1 rand_resize_ratio_upper: 1.5 allow_upscale: true")
        sizes = np.array([made.size(100, 200, chances(chance)) for chance in range(60)])
        assert (sizes[:, 0] == 100).all() and 100 <= sizes[:, 1].min() < 115 and 135 < sizes[:, 1].max() <= 150
        made = random_resize("vertical_stretch_lower: 0.5 vertical_stretch_upper: 0.8")
        sizes = np.array([made.size(100, 200, chances(chance)) for chance in range(60)])
        assert (sizes[:, 1] == 200).all() and 50 <= sizes[:, 0].min() < 60 and 70 < sizes[:, 0].max() <= 80

    def test_never_less_than_the_crop_nor_more_than_before(self) -> None:
        made = random_resize("img_rand_resize_lower: 8 img_rand_resize_upper: 90 crop_size: 30")
        sizes = np.array([made.size(40, 50, chances(chance)) for chance in range(60)])
        assert sizes.min() == 30 and sizes[:, 0].max() == 40 and sizes[:, 1].max() == 50

    def test_interpolation(self) -> None:
        made = random_resize("img_rand_resize_lower: 8 img_rand_resize_upper: 8 interpolation_algo_down: INTER_AREA")
        pixels = picture(16, 16)
        small, label = made(Sample(pixels, pixels[:, :, :1]), chances(0))[:2]
        np.testing.assert_array_equal(small, cv2.resize(pixels, (8, 8), interpolation=cv2.INTER_AREA))
        np.testing.assert_array_equal(label, pixels[::2, ::2, :1])

    def test_mistakes(self) -> None:
        for fields in ("img_rand_resize_lower: 3", "img_rand_resize_lower: 9 img_rand_resize_upper: 3"):
            with pytest.raises(DataError, match="img_rand_resize_lower <= img_rand_resize_upper"):
                random_resize(fields)
        assert RandomResize.of(pb.TransformationParameter()) is None
