from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.forks import Fork
from tests.data.batches import TRAIN, picture, refuses, source, write_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of 12x10 whose labels are the pictures' own first channel, and a list of them."""
    for k in range(2):
        pixels = picture(12, 10, seed=k)
        write_picture(tmp_path / f"{k}.png", pixels)
        write_picture(tmp_path / f"label{k}.png", pixels[:, :, :1])
    (tmp_path / "list.txt").write_text("0.png label0.png\n1.png label1.png\n")
    return tmp_path


def fields(folder: Path, kind: str = "ImageSegData", more: str = "", transform: str = "", tops: int = 2) -> str:
    name = "dense_image_data_param" if kind == "DenseImageData" else "image_data_param"
    return (
        f'name: "d" type: "{kind}" {" ".join(f"top: {chr(34)}t{k}{chr(34)}" for k in range(tops))} '
        f'{name} {{ source: "{folder}/list.txt" root_folder: "{folder}/" batch_size: 2 {more} }} '
        f"transform_param {{ {transform} }}"
    )


PLAIN = [("ImageSegData", "", 2), ("ImageSegData", "label_type: PIXEL", 3), ("DenseImageData", "", 2)]


@pytest.mark.parametrize(("kind", "more", "tops"), PLAIN)
def test_crop_and_mirror_are_the_same_for_both(folder: Path, kind: str, more: str, tops: int) -> None:
    with source(fields(folder, kind, more, "crop_size: 5 mirror: true", tops), TRAIN) as made:
        assert made.top_shapes[:2] == [(2, 3, 5, 5), (2, 1, 5, 5)]
        batches = [made.next() for _ in range(20)]
    for batch in batches:
        np.testing.assert_array_equal(batch[0][:, :1], batch[1])
    assert len({batch[1][0].tobytes() for batch in batches}) > 10


def test_labels_keep_their_values_under_mean_and_scale(folder: Path) -> None:
    with source(fields(folder, transform="mean_value: 73 mean_value: 82 mean_value: 72 scale: 0.5")) as made:
        batch, label = made.next()
        np.testing.assert_array_equal(batch[:, :1], (label - 73) * np.float32(0.5))


def test_the_picture_parameters_mirror_has_no_effect(folder: Path) -> None:
    with source(fields(folder, more="mirror: true"), TRAIN) as made:
        first = made.next()[0]
        assert all(np.array_equal(first, made.next()[0]) for _ in range(8))


def test_padding_and_its_extent(folder: Path) -> None:
    text = fields(folder, more="label_type: PIXEL ignore_label: 9", transform="crop_size: 14 mean_value: 50", tops=3)
    with source(text, fork=Fork.PSPNET) as made:
        assert made.top_shapes == [(2, 3, 14, 14), (2, 1, 14, 14), (2, 1, 1, 2)]
        batch, label, extent = made.next()
    assert extent.reshape(2, 2).tolist() == [[12, 10], [12, 10]]
    assert not batch[:, :, 12:].any() and not batch[:, :, :, 10:].any()
    assert (label[:, :, 12:] == 9).all() and (label[:, :, :, 10:] == 9).all()


def test_scale_factors_are_drawn_per_picture(folder: Path) -> None:
    transform = "crop_size: 12 scale_factors: 0.5 scale_factors: 1"
    with source(fields(folder, more="label_type: PIXEL", transform=transform, tops=3), TRAIN, Fork.PSPNET) as made:
        padded = [bool((label == 255).mean() > 0.5) for _ in range(20) for label in made.next()[1]]
    assert 5 < sum(padded) < 35


def test_dense_crop_moves_in_both_phases(folder: Path) -> None:
    with source(fields(folder, "DenseImageData", "crop_height: 5 crop_width: 4 mirror: true")) as made:
        assert made.top_shapes == [(2, 3, 5, 4), (2, 1, 5, 4)]
        batches = [made.next() for _ in range(20)]
    for data, label in batches:
        np.testing.assert_array_equal(data[:, :1], label)
    assert len({label[0].tobytes() for _, label in batches}) > 10


class TestMistakes:
    @pytest.mark.parametrize("kind", ["ImageSegData", "DenseImageData"])
    def test_picture_and_label_of_two_sizes(self, folder: Path, kind: str) -> None:
        write_picture(folder / "label1.png", picture(12, 9, 1))
        with source(fields(folder, kind)) as made:
            message = r"list\.txt:2: the picture 1\.png is 12x10, its label label1\.png is 12x9"
            with pytest.raises(DataError, match=message):
                made.next()

    def test_missing_label(self, folder: Path) -> None:
        (folder / "label1.png").unlink()
        message = r"list\.txt:2: cannot read the picture .*label1\.png: No such file"
        with source(fields(folder)) as made, pytest.raises(DataError, match=message):
            made.next()

    def test_list_without_labels(self, folder: Path) -> None:
        (folder / "list.txt").write_text("0.png\n")
        refuses(fields(folder), r"list\.txt:1: expected 'picture label-picture', found '0\.png'")

    def test_crop_larger_than_the_picture(self, folder: Path) -> None:
        refuses(fields(folder, transform="crop_size: 11"), r"list\.txt:1: .*0\.png: the crop of 11x11 is larger")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (("ImageSegData", "", 'mean_file: "x"'), "takes mean_value, not mean_file"),
            (("ImageSegData", "", "", 1), r"has 2 top\(s\), this layer has 1"),
            (("DenseImageData", "crop_height: 3"), "crop_height and crop_width together"),
            (("DenseImageData", "label_divide_factor: 2"), "needs new_height and new_width"),
            (
                ("DenseImageData", "label_divide_factor: 2", "crop_size: 3"),
                "crop cannot be combined with label_divide_factor",
            ),
        ],
    )
    def test_parameters(self, folder: Path, text: tuple[str], message: str) -> None:
        refuses(fields(folder, *text), message)

    def test_dense_crop_larger_than_the_picture(self, folder: Path) -> None:
        refuses(
            fields(folder, "DenseImageData", "crop_height: 20 crop_width: 20"),
            r"0\.png: crop_height x crop_width, 20x20, is larger than the picture, 12x10",
        )


@pytest.mark.parametrize(
    ("bits", "kind", "said"),
    [
        (8, 0, ""),
        (8, 4, ""),
        (16, 0, "16 bits a value: labels are its upper 8"),
        (8, 3, "a palette: labels are the brightness of its colors"),
        (2, 0, "2 bits a value: labels are stretched to 0..255"),
        (8, 2, "colors: labels are their brightness"),
    ],
)
@pytest.mark.parametrize("shape", [*PLAIN, ("ImageSegData", "label_type: IMAGE", 3)])
def test_label_pictures_that_gray_reading_changes(
    folder: Path, shape: tuple[str, str, int], bits: int, kind: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Caffe reads labels as 8-bit gray, so do we; a warning says what becomes of other pictures."""
    (folder / "label0.png").write_bytes(png(12, 10, bits, kind))
    (folder / "label1.png").write_bytes(png(12, 10, bits, kind))
    with source(fields(folder, shape[0], shape[1], tops=shape[2]), fork=Fork.PSPNET):
        warnings = [line for line in caplog.messages if "the label picture" in line]
    if said and "IMAGE" not in shape[1]:
        assert len(warnings) == 1 and said in warnings[0] and "label0.png" in warnings[0]
    else:
        assert warnings == []


def png(height: int, width: int, bits: int, kind: int) -> bytes:
    """A black PNG of that many bits a value and color type."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    values = {0: 1, 2: 3, 3: 1, 4: 2}[kind]
    row = b"\0" * (1 + (width * values * bits + 7) // 8)
    palette = chunk(b"PLTE", bytes([9, 8, 7])) if kind == 3 else b""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(row * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + data + chunk(b"IEND", b"")
