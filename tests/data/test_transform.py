from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.source import Request
from caffecompat.data.transform import Draw, Transformer, Window
from caffecompat.forks import Fork
from caffecompat.formats.mean import write_mean
from tests.data.batches import TEST, TRAIN, layer, picture


def transformer(fields: str, phase: int = TEST, fork: Fork = Fork.BVLC, **options: Any) -> Transformer:
    return Transformer(Request(layer(f'type: "Data" transform_param {{ {fields} }}'), phase, fork), **options)


def apply(made: Transformer, pixels: np.ndarray, draw: Draw | None = None) -> np.ndarray:
    out = np.full(made.output_shape(*pixels.shape), np.nan, np.float32)
    window = made.window(*pixels.shape[:2], draw)
    made.place(pixels[window.top :, window.left :][: window.height, : window.width], window, out)
    return out


@pytest.mark.parametrize("shape", [(5, 7, 3), (300, 200, 3), (40, 30, 1), (9, 9, 5)])
def test_mean_and_scale_are_exact(shape: tuple[int, int, int]) -> None:
    """(pixel - mean) * scale in float32, in blocks or not."""
    pixels = picture(*shape)
    means = np.float32([73.5, 82.1, 72, 1, 2][: shape[2]])
    made = transformer(" ".join(f"mean_value: {mean}" for mean in means) + " scale: 0.022")
    np.testing.assert_array_equal(apply(made, pixels), (pixels.astype(np.float32) - means) * np.float32(0.022))


def test_one_mean_value_serves_all_channels() -> None:
    pixels = picture(4, 4)
    np.testing.assert_array_equal(apply(transformer("mean_value: 100"), pixels), pixels.astype(np.float32) - 100)


@pytest.mark.parametrize("std", [[57.375, 57.12, 58.395], [58.0]])
@pytest.mark.parametrize("mean", ["", "mean_value: 104", "mean_value: [103.53, 116.28, 123.675]"])
@pytest.mark.parametrize("phase", [TRAIN, TEST])
def test_std_divides_after_the_scale(std: list[float], mean: str, phase: int) -> None:
    """(x - mean) * scale / std, in blocks or not, cropped and mirrored or not."""
    for fields, shape in (("", (5, 7, 3)), ("scale: 0.5", (300, 200, 3)), ("crop_size: 4 mirror: true", (9, 8, 3))):
        made = transformer(f"{fields} {mean} std_value: {std}", phase)
        pixels, draw = picture(*shape), Draw(1, 2, 3, 0)
        window = made.window(*shape[:2], draw)
        cut = pixels[window.top : window.top + window.height, window.left : window.left + window.width]
        cut = cut[:, ::-1] if window.mirror else cut
        means = {"": [0.0], "mean_value: 104": [104.0]}.get(mean, [103.53, 116.28, 123.675])
        want = (cut - np.array(means)) * (0.5 if "scale" in fields else 1) / np.array(std)
        np.testing.assert_allclose(apply(made, pixels, draw), want, rtol=1e-5, atol=1e-5)


def test_std_beside_a_mean_picture(tmp_path: Path) -> None:
    pixels, mean = picture(4, 6), np.random.default_rng(2).random((3, 4, 6), np.float32)
    write_mean(tmp_path / "mean", mean)
    got = apply(transformer(f'mean_file: "{tmp_path}/mean" std_value: [2, 4, 5] scale: 3'), pixels)
    np.testing.assert_allclose(got, (pixels - mean.transpose(1, 2, 0)) * 3 / [2, 4, 5], rtol=1e-6)


def test_sizes_may_change_from_picture_to_picture() -> None:
    made = transformer("mean_value: 1 mean_value: 2 mean_value: 3")
    for height, width in ((4, 6), (8, 3), (200, 100), (4, 6)):
        pixels = picture(height, width)
        np.testing.assert_array_equal(apply(made, pixels), pixels.astype(np.float32) - [1, 2, 3])


def test_floats_are_transformed_as_bytes_are() -> None:
    values = np.random.default_rng(1).normal(size=(6, 5, 2)).astype(np.float32)
    np.testing.assert_array_equal(apply(transformer("mean_value: 0.5 scale: 2"), values), (values - 0.5) * 2)


def test_center_crop_rounds_down() -> None:
    pixels = picture(7, 10)
    np.testing.assert_array_equal(apply(transformer("crop_size: 4"), pixels), pixels[1:5, 3:7])


def test_random_crop_and_mirror_follow_the_draw() -> None:
    pixels = picture(7, 10)
    made = transformer("crop_size: 4 mirror: true", TRAIN)
    assert made.window(7, 10, Draw(3, 9, 13, 0)) == Window(9 % 4, 13 % 7, 4, 4, True)
    got = apply(made, pixels, Draw(3, 9, 13, 0))
    np.testing.assert_array_equal(got, pixels[1:5, 6:10][:, ::-1])


def test_every_crop_and_both_sides_occur() -> None:
    made, generator = transformer("crop_size: 4 mirror: true", TRAIN), random.Random(1)
    seen = {made.window(5, 6, made.draw(generator)) for _ in range(400)}
    assert seen == {Window(t, left, 4, 4, m) for t in (0, 1) for left in (0, 1, 2) for m in (False, True)}


def test_mirror_happens_in_both_phases_crops_move_only_in_training() -> None:
    generator = random.Random(1)
    made = transformer("crop_size: 4 mirror: true", TEST)
    seen = {made.window(6, 6, made.draw(generator)) for _ in range(50)}
    assert seen == {Window(1, 1, 4, 4, False), Window(1, 1, 4, 4, True)}


def test_nothing_random_draws_nothing() -> None:
    generator = random.Random(1)
    state = generator.getstate()
    assert transformer("crop_size: 4", TEST).draw(generator) is None
    assert transformer("scale: 2", TRAIN).draw(generator) is None
    assert generator.getstate() == state


@pytest.mark.parametrize("mirror", [False, True])
def test_mean_picture_is_read_where_the_pixel_was(tmp_path: Path, mirror: bool) -> None:
    pixels = picture(70, 80)
    mean = np.random.default_rng(2).random((3, 70, 80), np.float32)
    write_mean(tmp_path / "mean", mean)
    made = transformer(f'mean_file: "{tmp_path}/mean" crop_size: 60 mirror: true scale: 0.5', TRAIN)
    want = ((pixels.astype(np.float32) - mean.transpose(1, 2, 0)) * np.float32(0.5))[4:64, 7:67]
    got = apply(made, pixels, Draw(int(mirror), 4, 7, 0))
    np.testing.assert_array_equal(got, want[:, ::-1] if mirror else want)


def test_jacinto_reads_the_mean_picture_at_its_center(tmp_path: Path) -> None:
    pixels, mean = picture(8, 8), np.arange(192, dtype=np.float32).reshape(3, 8, 8)
    write_mean(tmp_path / "mean", mean)
    made = transformer(f'mean_file: "{tmp_path}/mean" crop_size: 4', TRAIN, Fork.JACINTO)
    want = pixels[0:4, 1:5].astype(np.float32) - mean.transpose(1, 2, 0)[2:6, 2:6]
    np.testing.assert_array_equal(apply(made, pixels, Draw(0, 0, 1, 0)), want)


@pytest.mark.parametrize("fields", ["crop_h: 3 crop_w: 5", "crop_height: 3 crop_width: 5"])
def test_crops_with_two_sides(fields: str) -> None:
    assert transformer(fields).output_shape(8, 8, 3) == (3, 5, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("crop_size: 9", r"crop of 9x9 is larger than the picture, 8x6"),
        ("crop_h: 3", "only one side"),
        ("crop_h: 3 crop_w: 3 crop_size: 4", "gives the crop twice"),
        ("mean_value: 1 mean_value: 2", r"2 mean_value\(s\) for 3 channel"),
        ("std_value: 1 std_value: 2", r"2 std_value\(s\) for 3 channel"),
        ("std_value: 0", r"transform_param\.std_value must be a number above 0, one is 0"),
        ("std_value: [58, -1, 57]", r"transform_param\.std_value must be a number above 0, one is -1"),
        ("force_color: true force_gray: true", "both force_color and force_gray"),
        ("yolo_height: 3 rotate: true", "transform_param has yolo_height, rotate, which this layer does not support"),
    ],
)
def test_what_does_not_fit_is_refused(fields: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        transformer(fields).output_shape(8, 6, 3)


def test_mean_file_of_another_size_is_refused(tmp_path: Path) -> None:
    write_mean(tmp_path / "mean", np.zeros((3, 5, 6), np.float32))
    made = transformer(f'mean_file: "{tmp_path}/mean"')
    with pytest.raises(DataError, match=r"is 5x6x3 and the picture 8x6x3"):
        made.output_shape(8, 6, 3)
    with pytest.raises(DataError, match="both mean_file and mean_value"):
        transformer(f'mean_file: "{tmp_path}/mean" mean_value: 3')
    with pytest.raises(DataError, match="takes mean_value, not mean_file"):
        transformer(f'mean_file: "{tmp_path}/mean"', mean_file_allowed=False)


def test_xilinx_resize_param_only_promises_a_size() -> None:
    made = transformer("resize_param { height: 8 width: 6 }", fork=Fork.XILINX)
    assert made.output_shape(8, 6, 3) == (8, 6, 3)
    with pytest.raises(DataError, match=r"is 9x6, resize_param says 8x6.*new_height"):
        made.output_shape(9, 6, 3)
