"""Rows at the bottom of a JPEG that are not decoded."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.formats.jpeg_rows import without_lower_rows
from caffecompat.formats.picture import decode_rows

FACTORS = {
    "411": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "440": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}


def scene(height: int, width: int, channels: int = 3) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (height // 3, width // 3, channels), np.uint8)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)


def jpeg(pixels: np.ndarray, *settings: int) -> bytes:
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90, *settings])[1])


def whole(data: bytes, color: bool | None = True) -> np.ndarray:
    found = decode_rows(data, color)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("factor", FACTORS)
def test_the_rows_are_those_of_the_whole_picture(factor: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever the blocks and the smoothing of colors across their edges; and libjpeg has nothing to say."""
    data = jpeg(scene(99, 61), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, FACTORS[factor])
    for color in (True, False, None):
        want, fewer = whole(data, color), 0
        for rows in range(1, 100):
            found = decode_rows(data, color, lambda height, width, rows=rows: rows)  # type: ignore[misc]
            assert found is not None and found[1] == 99 and len(found[0]) >= rows
            np.testing.assert_array_equal(found[0][:rows], want[:rows])
            fewer += len(found[0]) < 99
        assert fewer == 90
    assert capfd.readouterr() == ("", "")


def test_gray_pictures_and_flat_ones() -> None:
    """Of a flat picture the rest is but a few bytes, of which the decoder reads some in advance."""
    flat = np.full((80, 50, 3), 90, np.uint8)
    for data in (jpeg(scene(80, 50, 1)), jpeg(flat), jpeg(flat[:, :1])):
        want = whole(data)
        for rows in range(1, 81):
            found = decode_rows(data, True, lambda height, width, rows=rows: rows)  # type: ignore[misc]
            assert found is not None and found[1] == 80
            np.testing.assert_array_equal(found[0][:rows], want[:rows])


def _with_exif(data: bytes) -> bytes:
    """Turned by 90 degrees."""
    entry = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    return data[:2] + b"\xff\xe1" + (len(entry) + 2).to_bytes(2, "big") + entry + data[2:]


PLAIN = jpeg(scene(96, 64))
WHOLE_ONLY = {
    "progressive": jpeg(scene(96, 64), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restart marks": jpeg(scene(96, 64), cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "turned by Exif": _with_exif(PLAIN),
    "two pictures": PLAIN + PLAIN,
    "without its end mark": PLAIN[:-2],
    "a PNG": bytes(cv2.imencode(".png", scene(96, 64))[1]),
}


@pytest.mark.parametrize("kind", WHOLE_ONLY)
def test_files_whose_rows_may_be_others_are_decoded_whole(kind: str) -> None:
    data = WHOLE_ONLY[kind]
    assert without_lower_rows(data, 16) is None
    found = decode_rows(data, True, lambda height, width: 16)
    if kind == "without its end mark" and found is None:
        return  # as OpenCV 5 has it
    assert found is not None
    np.testing.assert_array_equal(found[0], whole(data))
    assert found[1] == len(found[0])
    if kind == "turned by Exif":
        assert found[0].shape[:2] == (64, 96)
