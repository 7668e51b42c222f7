"""Picture files: decoding flags, headers, cut-off files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.formats.picture import decode_picture, encode_picture, read_picture, resize_picture
from caffecompat.formats.picture_header import is_cut_off, picture_header

PICTURE = np.random.default_rng(1).integers(0, 256, (21, 34, 3), np.uint8)


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_headers_say_what_decoding_gives(kind, channels):
    data = encode_picture(PICTURE[:, :, :channels], kind)
    decoded = decode_picture(data, None)
    assert picture_header(data) == (kind, (channels, 21, 34))
    assert decoded.shape == (21, 34, channels)


def test_progressive_jpeg_with_padding_before_markers():
    data = cv2.imencode(".jpg", PICTURE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    padded = data[:2] + b"\xff\xff" + data[2:]
    assert picture_header(padded)[1] == (3, 21, 34)
    assert not is_cut_off(padded)


def test_other_kinds_are_named_and_noise_is_unknown():
    assert picture_header(encode_picture(PICTURE, "bmp"))[0] == "bmp"
    assert picture_header(b"hello") == ("unknown", None)
    assert picture_header(b"") == ("unknown", None)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_file_without_its_end_is_cut_off(kind):
    data = encode_picture(PICTURE, kind)
    assert not is_cut_off(data)
    assert not is_cut_off(data + b"a camera's own notes" * 20)
    assert is_cut_off(data[:-20])


def test_the_end_of_a_thumbnail_is_not_the_end():
    data = encode_picture(PICTURE, "jpg")
    thumbnail = encode_picture(PICTURE[:4, :4], "jpg")
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    assert is_cut_off((data[:2] + segment + data[2:])[:-20])
    assert picture_header(data[:2] + segment + data[2:])[1] == (3, 21, 34)


def test_gray_and_color_are_forced():
    data = encode_picture(PICTURE, "png")
    np.testing.assert_array_equal(decode_picture(data, True), PICTURE)
    assert decode_picture(data, False).shape == (21, 34, 1)


def test_what_cannot_be_read_is_none(tmp_path):
    assert decode_picture(b"") is None
    assert decode_picture(b"no picture") is None
    assert read_picture(tmp_path / "none.png") is None
    assert encode_picture(PICTURE, "nonsense") is None


def test_resizing_keeps_the_channel_axis_and_the_same_size_keeps_the_array():
    gray = PICTURE[:, :, :1]
    assert resize_picture(gray, 10, 12).shape == (10, 12, 1)
    assert resize_picture(gray, 21, 34) is gray
    labels = resize_picture(np.array([[[0], [7]]], np.uint8), 2, 5, nearest=True)
    assert set(labels.ravel().tolist()) == {0, 7}
