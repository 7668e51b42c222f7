"""Sizes are read from the headers of all picture formats, and too large ones refused before anything is decoded."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from caffecompat.formats.datum import Datum, DatumError
from caffecompat.formats.picture import PictureError, decode_picture, read_picture, resize_picture
from caffecompat.formats.picture_header import is_cut_off, is_impossible, picture_size

KINDS = ["png", "jpg", "bmp", "gif", "tiff", "webp", "pbm", "pgm", "ppm", "pam", "pfm", "sr", "hdr", "jp2", "avif"]


def encoded(kind: str, height: int = 137, width: int = 253) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    if kind in ("pbm", "pgm"):
        pixels = pixels[:, :, 0]
    if kind in ("pfm", "hdr"):
        pixels = pixels.astype(np.float32)
    try:
        done, data = cv2.imencode("." + kind, pixels)
    except cv2.error:
        done = False
    if not done:
        pytest.skip(f"this OpenCV writes no {kind}")
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_each_format_is_in_its_header(kind: str) -> None:
    assert picture_size(encoded(kind)) == (137, 253)


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_pixels_are_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(kind)
    monkeypatch.setenv("CAFFECOMPAT_MAX_PIXELS", str(137 * 253))
    assert decode_picture(data) is not None
    monkeypatch.setenv("CAFFECOMPAT_MAX_PIXELS", str(137 * 253 - 1))
    with pytest.raises(PictureError, match=r"253 wide and 137 high.*CAFFECOMPAT_MAX_PIXELS"):
        decode_picture(data)


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes of side x side gray pixels, all of its checksums right."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_two_to_the_28th_pixels_are_the_most(tmp_path) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(16385))
    with pytest.raises(PictureError, match=r"bomb\.png: .*268,468,225 pixels are more than the 268,435,456 allowed"):
        read_picture(tmp_path / "bomb.png")
    with pytest.raises(DatumError, match="20000 wide"):
        Datum(data=bomb(20000), encoded=True).image()
    with pytest.raises(PictureError, match="the resized picture is 100000 wide"):
        resize_picture(np.zeros((2, 2, 3), np.uint8), 100000, 100000)


def test_a_setting_that_is_no_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAFFECOMPAT_MAX_PIXELS", "many")
    with pytest.raises(PictureError, match="CAFFECOMPAT_MAX_PIXELS=many"):
        decode_picture(encoded("png"))


def test_bytes_between_the_segments_of_a_jpeg_hide_no_size() -> None:
    data = encoded("jpg")
    assert picture_size(data[:2] + b"\0\0\0\0" + data[2:]) == (137, 253)
    assert not is_cut_off(data)
    assert is_cut_off(data[:-2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_cut_anywhere_states_nothing_or_something(kind: str) -> None:
    data = encoded(kind)
    for end in range(64):
        size = picture_size(data[:end])
        assert size is None or len(size) == 2


@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt", b"fdAT", b"abCd"])
@pytest.mark.parametrize("size", [1 << 26, (1 << 31) - 1, (1 << 32) - 1])
def test_a_chunk_that_claims_gigabytes_is_refused_before_memory_is_asked_for(kind: bytes, size: int) -> None:
    data = encoded("png")
    assert not is_impossible(data) and not is_impossible(data[:-20])
    data = data[:33] + struct.pack(">I", size) + kind + data[33:]
    assert is_impossible(data)
    assert decode_picture(data) is None
