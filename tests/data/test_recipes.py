"""Pictures and labels made into records."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.data.build import BadRecord, BuildError
from caffecompat.data.label_picture import LabelError, decode_labels
from caffecompat.data.recipes import (
    ImageOptions,
    caffe_plan,
    class_folder_entries,
    image_plan,
    missing_files,
    pair_plan,
)
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import decode_datum
from caffecompat.formats.image_list import ListedImage, ListedPair, read_image_list

RNG = np.random.default_rng(3)
PICTURE = RNG.integers(0, 256, (20, 30, 3), np.uint8)
LABELS = RNG.integers(0, 19, (20, 30), np.uint8)


def png(pixels, *options):
    return cv2.imencode(".png", pixels, list(options))[1].tobytes()


def palette_png(indices, bits):
    """A PNG of color type 3 whose palette's brightness is unlike the indices."""
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = indices.shape
    rows = []
    for row in indices:
        packed = np.packbits(((row[:, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8).reshape(-1))
        rows.append(b"\0" + packed.tobytes())
    header = struct.pack(">IIBBBBB", width, height, bits, 3, 0, 0, 0)
    palette = bytes((7 * index + 100) % 256 for index in range(3 << bits))
    body = chunk(b"PLTE", palette) + chunk(b"tEXt", b"Comment\0x") + chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_indices_are_the_classes(bits):
    indices = RNG.integers(0, 1 << bits, (9, 13), np.uint8)
    np.testing.assert_array_equal(decode_labels(palette_png(indices, bits))[:, :, 0], indices)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grays_of_few_bits_are_not_stretched(bits):
    indices = RNG.integers(0, 1 << bits, (9, 13), np.uint8)
    gray = bytearray(palette_png(indices, bits))
    gray[25] = 0
    import struct
    import zlib

    gray[29:33] = struct.pack(">I", zlib.crc32(bytes(gray[12:29])))
    np.testing.assert_array_equal(decode_labels(bytes(gray))[:, :, 0], indices)


def test_labels_of_16_bits_and_of_three_equal_channels():
    np.testing.assert_array_equal(decode_labels(png(LABELS.astype(np.uint16)))[:, :, 0], LABELS)
    np.testing.assert_array_equal(decode_labels(png(np.dstack([LABELS] * 3)))[:, :, 0], LABELS)


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (png(PICTURE), "shows colors"),
        (png(np.full((4, 4), 300, np.uint16)), "value 300"),
        (b"nothing", "cannot decode|can decode"),
        (palette_png(np.zeros((4, 4), np.uint8), 8)[:-40], "damaged|can decode"),
    ],
)
def test_what_holds_no_classes(file, why):
    with pytest.raises(LabelError, match=why):
        decode_labels(file)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(png(PICTURE))
    (tmp_path / "b.JPEG").write_bytes(cv2.imencode(".jpg", PICTURE)[1].tobytes())
    (tmp_path / "gray.png").write_bytes(png(PICTURE[:, :, 0]))
    (tmp_path / "alpha.png").write_bytes(png(np.dstack([PICTURE, PICTURE[:, :, 0]])))
    (tmp_path / "half.jpg").write_bytes((tmp_path / "b.JPEG").read_bytes()[:-30])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "labels.png").write_bytes(png(LABELS))
    (tmp_path / "voc.png").write_bytes(palette_png(LABELS, 8))
    (tmp_path / "small.png").write_bytes(png(LABELS[:10]))
    return tmp_path


def datum(plan, index=0, part=0):
    return decode_datum(plan.encode(index)[part])


def one(folder, name, label=5, **options):
    return datum(image_plan([ListedImage(name, label, 7)], "list.txt", ImageOptions(**options), root=str(folder)))


@pytest.mark.parametrize("name", ["a.png", "b.JPEG"])
def test_auto_keeps_the_bytes_of_a_file_that_nothing_changes(folder, name):
    record = one(folder, name)
    assert bytes(record.data) == (folder / name).read_bytes()
    assert (record.label, record.encoded, record.channels) == (5, True, None)
    assert bytes(one(folder, name, height=20, width=30).data) == (folder / name).read_bytes()


@pytest.mark.parametrize("name", ["gray.png", "alpha.png"])
def test_auto_rewrites_what_would_not_decode_to_three_channels(folder, name):
    assert one(folder, name).image().shape == (20, 30, 3)


def test_resized_files_keep_their_kind_and_gray_has_one_channel(folder):
    assert one(folder, "a.png", height=8, width=9).image().shape == (8, 9, 3)
    assert bytes(one(folder, "b.JPEG", height=8, width=9).data)[:2] == b"\xff\xd8"
    assert one(folder, "a.png", color=False).image().shape == (20, 30, 1)


def test_png_and_raw_hold_the_exact_pixels(folder):
    expected = cv2.imread(str(folder / "b.JPEG"))
    np.testing.assert_array_equal(one(folder, "b.JPEG", encoding="png").image(), expected)
    raw = one(folder, "b.JPEG", encoding="raw")
    assert (raw.shape, raw.encoded) == ((3, 20, 30), False)
    np.testing.assert_array_equal(raw.image(), expected)


@pytest.mark.parametrize(
    ("name", "why"),
    [("half.jpg", "cut off"), ("text.png", "not a picture"), ("none.png", "No such file")],
)
def test_bad_pictures_name_the_line(folder, name, why):
    with pytest.raises(BadRecord, match=rf"list\.txt:7: .*{name}.*{why}|list\.txt:7: .*{why}.*{name}"):
        one(folder, name)


def pair(folder, label, **options):
    plan = pair_plan([ListedPair("b.JPEG", label, 3)], "pairs.txt", ImageOptions(**options), root=str(folder))
    assert plan.parts == ("image", "label")
    assert plan.keys == [b"00000000_b.JPEG"]
    return datum(plan, 0, 0), datum(plan, 0, 1)


@pytest.mark.parametrize("label", ["labels.png", "voc.png"])
@pytest.mark.parametrize("encoding", ["auto", "raw", "jpg"])
def test_labels_are_never_lossy(folder, label, encoding):
    image, labels = pair(folder, label, encoding=encoding)
    assert image.image().shape == (20, 30, 3)
    np.testing.assert_array_equal(labels.image()[:, :, 0], LABELS)
    if (label, encoding) == ("labels.png", "auto"):
        assert bytes(labels.data) == (folder / label).read_bytes()


def test_labels_are_resized_by_nearest(folder):
    _, labels = pair(folder, "voc.png", height=10, width=15)
    np.testing.assert_array_equal(
        labels.image()[:, :, 0], cv2.resize(LABELS, (15, 10), interpolation=cv2.INTER_NEAREST)
    )


def test_a_pair_of_different_sizes_is_bad(folder):
    with pytest.raises(BadRecord, match=r"pairs\.txt:3: .*30x20.*30x10"):
        pair(folder, "small.png")


def test_missing_files_are_named_with_their_lines(folder):
    assert missing_files([("a.png", 1), ("x.png", 2), ("y.png", 9)], "l.txt", str(folder)) == [
        f"l.txt:2: {folder}/x.png does not exist",
        f"l.txt:9: {folder}/y.png does not exist",
    ]


def test_class_folders(tmp_path):
    for name in ("dog/1.png", "dog/2.PNG", "cat/a/3.jpg", "cat/notes.txt", ".git/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    entries, classes = class_folder_entries(tmp_path, shuffle_seed=None)
    assert classes == ["cat", "dog"]
    assert [(entry.path, entry.label) for entry in entries] == [("cat/a/3.jpg", 0), ("dog/1.png", 1), ("dog/2.PNG", 1)]
    shuffled = class_folder_entries(tmp_path, shuffle_seed=4)[0]
    assert sorted(shuffled) == sorted(entries)
    assert shuffled == class_folder_entries(tmp_path, shuffle_seed=4)[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match="empty holds no pictures"):
        class_folder_entries(tmp_path)


def test_no_class_folders(tmp_path):
    with pytest.raises(BuildError, match="no class folders"):
        class_folder_entries(tmp_path)
    with pytest.raises(BuildError, match="no folder"):
        class_folder_entries(tmp_path / "none")


def test_half_a_size_or_an_unknown_encoding():
    with pytest.raises(BuildError, match="both"):
        ImageOptions(height=3)
    with pytest.raises(BuildError, match="unknown encoding 'gif'"):
        ImageOptions(encoding="gif")


def test_a_path_too_long_for_lmdb_keeps_its_end():
    plan = image_plan([ListedImage("d/" * 300 + "x.png", 1, 1)], "", ImageOptions())
    assert len(plan.keys[0]) == 511
    assert plan.keys[0].startswith(b"00000000_")
    assert plan.keys[0].endswith(b"/x.png")


def test_a_color_file_stays_one_in_an_encoded_gray_database_as_in_caffe(folder):
    plan = caffe_plan(f"{folder}/", [ListedImage("a.png", 1, 1)], color=False, encoded=True)
    assert bytes(datum(plan).data) == (folder / "a.png").read_bytes()


def test_a_size_of_one_side_only_does_not_resize_but_encodes_anew_as_in_caffe(folder):
    plan = caffe_plan(f"{folder}/", [ListedImage("b.JPEG", 1, 1)], encoded=True, height=5)
    record = datum(plan)
    assert bytes(record.data) != (folder / "b.JPEG").read_bytes()
    assert record.image().shape == (20, 30, 3)


def test_check_size_compares_with_the_first_that_can_be_read(folder):
    entries = [ListedImage(name, 1, 1) for name in ("text.png", "a.png", "small.png")]
    plan = caffe_plan(f"{folder}/", entries, check_size=True)
    with pytest.raises(BadRecord):
        plan.encode(0)
    plan.encode(1)
    with pytest.raises(BuildError, match=r"Incorrect data field size 900: .*small\.png"):
        plan.encode(2)


FLAGS = {
    "db_raw_lmdb": {"height": 32, "width": 36},
    "db_gray_lmdb": {"height": 32, "width": 32, "color": False},
    "db_encpng_lmdb": {"height": 32, "width": 36, "encoded": True, "encode_type": "png"},
    "db_encorig_lmdb": {"encoded": True},
}


@pytest.mark.parametrize("name", FLAGS)
def test_records_are_those_of_the_original(golden, name):
    """Keys and pixels equal; bytes too, but for PNG files, whose compression is the OpenCV version's."""
    data = golden / "data"
    plan = caffe_plan(f"{data}/images/", read_image_list(data / "list.txt"), **FLAGS[name])
    with open_database(data / name) as database:
        recorded = list(database)
    assert plan.keys == [key for key, _ in recorded]
    for index, (_, record) in enumerate(recorded):
        made = plan.encode(index)[0]
        if name == "db_encpng_lmdb":
            np.testing.assert_array_equal(decode_datum(made).image(), decode_datum(record).image())
        elif name == "db_encorig_lmdb" or recorded[index][0].endswith(b".png"):
            assert made == record
        else:  # a JPEG's pixels may be off by one between versions of its decoder
            ours, theirs = decode_datum(made).image().astype(int), decode_datum(record).image()
            assert np.abs(ours - theirs).max() <= 1
