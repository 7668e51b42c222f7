"""info, verify, split and the contact sheet, as library calls."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from caffecompat.data.build import BuildError
from caffecompat.data.contact_sheet import class_colors, color_labels, contact_sheet, viewable
from caffecompat.data.dataset import class_names, dataset_parts, open_parts
from caffecompat.data.inspection import Checks, inspect_records, verify_keys, verify_records
from caffecompat.data.mean_image import mean_image
from caffecompat.data.split import split_database
from caffecompat.formats.database import DatabaseError, open_database
from caffecompat.formats.datum import Datum, encode_datum

PIXELS = np.arange(24, dtype=np.uint8).reshape(1, 4, 6)


@pytest.fixture
def make(tmp_path):
    def put(name, *datums, keys=None):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with open_database(tmp_path / name, "lmdb", "w") as writer:
            values = [datum if isinstance(datum, bytes) else encode_datum(datum) for datum in datums]
            writer.put([(keys[i] if keys else b"%03d" % i, value) for i, value in enumerate(values)])
        return open_database(tmp_path / name)

    return put


def encoded(kind, pixels=PIXELS, label=0):
    data = cv2.imencode(f".{kind}", pixels.transpose(1, 2, 0))[1].tobytes()
    return Datum(data=data, encoded=True, label=label)


def test_info_counts_kinds_shapes_and_labels(make):
    floats = Datum.from_array(np.zeros((5, 1, 1)), 9)
    jpeg = encoded("jpg", np.zeros((3, 8, 9), np.uint8), 2)
    datums = [Datum.from_array(PIXELS, 2), encoded("png"), jpeg, encoded("bmp"), floats, b"\xff"]
    info = inspect_records(make("db", *datums))
    assert info.kinds == {"raw": 1, "png": 1, "jpg": 1, "bmp": 1, "float": 1}
    bitmap = datums[3].image().shape  # one or three channels, as the OpenCV version has it for a gray bitmap
    assert info.shapes == Counter([(1, 4, 6), (1, 4, 6), (3, 8, 9), (bitmap[2], 4, 6), (5, 1, 1)])
    assert info.labels == {0: 2, 2: 2, 9: 1}
    assert info.damaged == ["005"]
    assert (info.records, info.looked_at, info.first_key, info.last_key) == (6, 6, "000", "005")
    assert info.as_json()["shapes"]["3x8x9"] == 1


def test_info_of_label_pictures_counts_pixels_and_stops_at_the_limit(make):
    maps = [Datum.from_array(np.full((1, 2, 3), number, np.uint8)) for number in (4, 4, 255)]
    info = inspect_records(make("db", *maps), label_pixels=True, limit=2)
    assert info.labels == {4: 12}
    assert info.looked_at == 2


def test_verify_names_every_kind_of_damage(make):
    whole = encoded("jpg", np.random.default_rng(0).integers(0, 256, (3, 40, 40), np.uint8)).data
    small = encoded("png", PIXELS[:, :2])
    datums = [encoded("png"), Datum(data=whole[:-40], encoded=True), Datum(1, 4, 6, b"abc"), b"\x22\x7f", small]
    problems = verify_records(make("db", *datums), Checks(), threads=2)
    found = [str(problem) for problem in problems]
    assert [line.split(":")[0] for line in found] == ["001", "002", "003", "004"]
    assert "cut off" in found[0]
    assert "needs 24 values, and holds 3" in found[1]
    assert "not a Datum" in found[2]
    assert "is 1x2x6, the first record is 1x4x6" in found[3]


def test_verify_lets_sizes_differ_when_told(make):
    database = make("db", encoded("png"), encoded("png", PIXELS[:, :2]))
    assert verify_records(database, Checks(one_size=False)) == []


def test_verify_checks_the_range_of_labels_and_of_label_pixels(make):
    labeled = make("db", *[Datum.from_array(PIXELS, label) for label in (0, 4, 5, -1)])
    found = verify_records(labeled, Checks(classes=5))
    assert [str(problem) for problem in found] == [
        "002: has label 5; expected 0 to 4",
        "003: has label -1; expected 0 to 4",
    ]
    maps = make("maps", *[Datum.from_array(np.full((1, 2, 2), number, np.uint8)) for number in (4, 5, 255, 254)])
    found = verify_records(maps, Checks(classes=5, label_pixels=True))
    assert [problem.key for problem in found] == ["001", "003"]
    assert "class 254; expected 0 to 4 or 255" in found[1].text


def pair(make, tmp_path, label_keys=None):
    images = [Datum.from_array(np.full((3, 2, 2), number, np.uint8)) for number in range(10)]
    maps = [Datum.from_array(np.full((1, 2, 2), number, np.uint8)) for number in range(10)]
    make("pair/image", *images).close()
    make("pair/label", *maps, keys=label_keys).close()
    return tmp_path / "pair"


def test_pairs_are_recognized_and_their_keys_compared(make, tmp_path):
    path = pair(make, tmp_path)
    assert dataset_parts(path) == ("image", "label")
    assert verify_keys(open_parts(path)) == []
    assert dataset_parts(path / "image") == ("",)


def test_a_pair_with_other_keys(make, tmp_path):
    path = pair(make, tmp_path, [b"%03d" % index for index in range(1, 11)])
    assert verify_keys(open_parts(path))[0].startswith("record 0 has different keys: 000 in")
    with pytest.raises(DatabaseError, match="do not match"):
        split_database(path, tmp_path / "a", tmp_path / "b", fraction=0.5)


def test_a_pair_with_other_counts(make, tmp_path):
    make("p/image", Datum.from_array(PIXELS)).close()
    make("p/label", Datum.from_array(PIXELS), Datum.from_array(PIXELS)).close()
    with pytest.raises(DatabaseError, match=r"1 in .*image and 2 in .*label"):
        open_parts(tmp_path / "p")


def test_split_divides_the_records_and_repeats_by_seed(make, tmp_path):
    path = pair(make, tmp_path)
    (path / "classes.txt").write_text("road\nsky\n")
    split_database(path, tmp_path / "a", tmp_path / "b", fraction=0.3, seed=1)
    split_database(path, tmp_path / "c", tmp_path / "d", fraction=0.3, seed=1)
    split_database(path, tmp_path / "e", tmp_path / "f", fraction=0.3, seed=2)
    whole = [list(reader) for reader in open_parts(path)]
    read = {name: [list(reader) for reader in open_parts(tmp_path / name)] for name in "abcdf"}
    for part in (0, 1):
        assert len(read["b"][part]) == 3
        assert sorted(read["a"][part] + read["b"][part]) == whole[part]
        assert read["a"][part] == read["c"][part]
        assert read["b"][part] == read["d"][part]
        assert read["b"][part] != read["f"][part]
    assert [key for key, _ in read["b"][0]] == [key for key, _ in read["b"][1]]
    assert class_names(tmp_path / "b") == ["road", "sky"]


def test_a_split_that_leaves_a_part_empty_writes_nothing(make, tmp_path):
    path = pair(make, tmp_path)
    with pytest.raises(BuildError, match=r"0\.01 of 10 records puts 0"):
        split_database(path, tmp_path / "a", tmp_path / "b", fraction=0.01)
    (tmp_path / "b").mkdir()
    with pytest.raises(BuildError, match="b exists already"):
        split_database(path, tmp_path / "a", tmp_path / "b", fraction=0.3)
    assert not (tmp_path / "a").exists()


def test_the_mean_is_exact_and_wants_one_size(make):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (150, 3, 4, 5), np.uint8)
    database = make("db", *[Datum.from_array(picture) for picture in pictures])
    np.testing.assert_allclose(mean_image(database, threads=2), pictures.mean(0), rtol=1e-6)
    with pytest.raises(DatabaseError, match="record 001 is 1x2x6, the first is 1x4x6"):
        mean_image(make("odd", encoded("png"), encoded("png", PIXELS[:, :2])))
    with pytest.raises(DatabaseError, match="no records"):
        mean_image(make("none"))
    with pytest.raises(DatabaseError, match=r"odd2: record 000: .*cannot be decoded"):
        mean_image(make("odd2", Datum(data=b"x", encoded=True)))


def test_the_colors_are_those_of_pascal_voc():
    colors = class_colors()[:, ::-1]
    expected = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert colors[:5].tolist() == expected
    assert colors[15].tolist() == [192, 128, 128]  # person
    assert colors[255].tolist() == [224, 224, 192]  # void
    assert color_labels(np.array([[[1], [255]]], np.uint8)).shape == (1, 2, 3)


def test_a_sheet_holds_every_cell():
    red, blue = np.full((4, 8, 3), (0, 0, 255), np.uint8), np.full((8, 4, 3), (255, 0, 0), np.uint8)
    sheet = contact_sheet([([red, blue], "pair"), ([red], "one"), ([blue], "x" * 99)], columns=2, size=40)
    assert sheet.shape[1] == 2 * (60 + 6) + 6
    assert (sheet == (0, 0, 255)).all(axis=2).sum() == 2 * 20 * 40
    assert (sheet == (255, 0, 0)).all(axis=2).sum() == 2 * 40 * 20


def test_any_values_can_be_shown():
    assert viewable(np.zeros((2, 3, 1), np.uint8)).shape == (2, 3, 3)
    assert viewable(np.zeros((2, 3, 2), np.uint8)).shape == (2, 3, 3)
    stretched = viewable(np.array([[[-1.0], [1.0]]], np.float32))
    assert stretched[:, :, 0].tolist() == [[0, 255]]
    assert viewable(np.zeros((2, 3, 7), np.float32)).max() == 0
