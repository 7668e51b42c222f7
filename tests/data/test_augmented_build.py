"""Databases of each record several times, changed at random: labels and boxes follow, and a seed makes them again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

import caffecompat
from caffecompat.cli.main import main
from caffecompat.data import build as build_module
from caffecompat.data.build import BuildError
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.annotated_datum import decode_annotated_datum
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, decode_datum
from tests import data_set_trees as trees


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures, 6 high and 8 wide, whose pixels show where they are; label pictures and boxes alike."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        place = np.arange(48, dtype=np.uint8).reshape(6, 8)
        cv2.imwrite(f"{number}.png", np.dstack([place, place, np.full((6, 8), 60 * number, np.uint8)]))
        cv2.imwrite(f"{number}_labels.png", place)
        trees.voc_xml(Path(f"{number}.xml"), *["dog"] * number)
    for name, line in (("list", "{0}.png {0}"), ("pairs", "{0}.png {0}_labels.png"), ("boxes", "{0}.png {0}.xml")):
        Path(f"{name}.txt").write_text("".join(line.format(number) + "\n" for number in range(3)))
    Path("mirror.txt").write_text("mirror: true")
    Path("crop.prototxt").write_text("transform_param { mirror: true crop_h: 4 crop_w: 5 }")
    return tmp_path


def _records(source: str) -> list[tuple[bytes, bytes]]:
    with open_database(source) as database:
        return list(database)


def _datums(source: str) -> list[Datum]:
    return [decode_datum(value) for _, value in _records(source)]


def _pictures(source: str) -> list[np.ndarray]:
    return [datum.image() for datum in _datums(source)]


PLACES = np.arange(48).reshape(6, 8)


def test_each_record_comes_k_times_in_order() -> None:
    report = caffecompat.build_database("list.txt", "db", augment=4, transform="mirror.txt", names=("a", "b", "c"))
    assert (report.written, report.bad) == (12, {})
    assert [key for key, _ in _records("db")] == [b"%08d_%d.png" % (at, at % 3) for at in range(12)]
    assert [datum.label for datum in _datums("db")] == [0, 1, 2] * 4
    assert Path("db/classes.txt").read_text() == "a\nb\nc\n"
    mirrored = [int(picture[0, 0, 0]) for picture in _pictures("db")]
    assert set(mirrored) == {0, 7}, "some are mirrored and some are not"
    for at, picture in enumerate(_pictures("db")):
        assert (picture[:, :, 0] == (PLACES if mirrored[at] == 0 else PLACES[:, ::-1])).all()
        assert (picture[:, :, 2] == 60 * (at % 3)).all()
    assert set(caffecompat.inspect_database("db")[0].kinds) == {"png"}


def test_a_seed_makes_the_same_again() -> None:
    for name, settings in (
        ("a", {}),
        ("b", {"threads": 3, "shards": 2}),
        ("c", {"seed": 1}),
        ("d", {"encoding": "raw"}),
    ):
        caffecompat.build_database("list.txt", name, augment=3, **settings)
    assert _records("a") == _records("b") != _records("c")
    raw, encoded = _pictures("d"), _pictures("a")
    assert all((one == other).all() for one, other in zip(raw, encoded, strict=True))
    originals = [cv2.imread(f"{at % 3}.png") for at in range(9)]
    assert any(sorted(made.ravel()) != sorted(given.ravel()) for made, given in zip(raw, originals, strict=True)), (
        "colors"
    )


def test_label_pictures_follow() -> None:
    caffecompat.build_database("pairs.txt", "db", augment=5, transform="crop.prototxt")
    images, labels = _pictures("db/image"), _pictures("db/label")
    assert len(images) == len(labels) == 15
    for image, label in zip(images, labels, strict=True):
        assert image.shape == (4, 5, 3) and label.shape == (4, 5, 1)
        assert (image[:, :, 0] == label[:, :, 0]).all()
    assert len({image[:, :, 0].tobytes() for image in images}) > 5
    assert [key for key, _ in _records("db/image")] == [key for key, _ in _records("db/label")]


def test_boxes_follow() -> None:
    caffecompat.build_database("boxes.txt", "db", augment=6, transform="crop.prototxt")
    assert Path("db/labelmap.prototxt").is_file()
    for at, (_, value) in enumerate(_records("db")):
        record = decode_annotated_datum(value)
        picture = record.datum.image()[:, :, 0]
        assert picture.shape == (4, 5) and len(record.objects) == at % 3
        mirrored = picture[0, 0] > picture[0, 1]
        top, left = divmod(int(picture[0].min()), 8)
        for left_side, top_side, right_side, bottom_side in record.objects[:, 2:6].tolist():
            box = [max(0, 2 - left) / 5, max(0, 1 - top) / 4, min(5, 6 - left) / 5, min(4, 5 - top) / 4]
            if mirrored:
                box[0], box[2] = 1 - box[2], 1 - box[0]
            assert [left_side, top_side, right_side, bottom_side] == pytest.approx(box, abs=1e-6)


def test_batch_samplers_are_for_boxes() -> None:
    Path("ssd.prototxt").write_text(
        "transform_param { mirror: true expand_param { prob: 1 max_expand_ratio: 2 } mean_value: 9 "
        "resize_param { prob: 1 height: 4 width: 4 resize_mode: WARP interp_mode: LINEAR } } "
        "annotated_data_param { batch_sampler { max_sample: 1 max_trials: 50 sampler { min_scale: 0.3 } } }"
    )
    caffecompat.build_database("boxes.txt", "db", augment=3, transform="ssd.prototxt")
    assert {decode_annotated_datum(value).datum.image().shape for _, value in _records("db")} == {(4, 4, 3)}
    assert caffecompat.verify_database("db").sound
    with pytest.raises(BuildError, match="batch_sampler is for records with boxes"):
        caffecompat.build_database("list.txt", "more", augment=3, transform="ssd.prototxt")


def test_gray_pictures_and_sizes() -> None:
    caffecompat.build_database("pairs.txt", "db", augment=2, color=False, size=(12, 16))
    assert {picture.shape for picture in _pictures("db/image") + _pictures("db/label")} == {(12, 16, 1)}


def test_jpeg_files_become_jpeg_again() -> None:
    cv2.imwrite("photo.jpg", np.full((8, 8, 3), 90, np.uint8))
    Path("list.txt").write_text("photo.jpg 0\n0.png 1\n")
    caffecompat.build_database("list.txt", "db", augment=1, transform="mirror.txt")
    assert dict(caffecompat.inspect_database("db")[0].kinds) == {"jpg": 1, "png": 1}


def test_an_interrupted_build_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "_BATCH_RECORDS", 2)
    caffecompat.build_database("list.txt", "whole", augment=4)

    def stop(done: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        caffecompat.build_database("list.txt", "db", augment=4, on_progress=stop)
    assert caffecompat.build_database("list.txt", "db", augment=4).resumed_at == 6
    assert _records("db") == _records("whole")


def test_another_transform_starts_over() -> None:
    Path("big.txt").write_text("crop_size: 7")
    with pytest.raises(BuildError, match=r"00000000_0\.png: the crop of 7x7 is larger than the picture, 6x8"):
        caffecompat.build_database("list.txt", "db", augment=2, transform="big.txt")
    assert caffecompat.build_database("list.txt", "db", augment=2, transform="mirror.txt").resumed_at == 0


@pytest.mark.parametrize("form", ["%s", "transform_param { %s }", 'name: "data" type: "Data" transform_param { %s }'])
def test_the_file_is_a_transform_param(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = "mirror: true # half of them\ndistort_param { brightness_prob: 1 brightness_delta: 30 } crop_size: 5"
    Path("t.txt").write_text(form % f"{text}\n")
    caffecompat.build_database("list.txt", "db", augment=2, transform="t.txt")
    assert {picture.shape for picture in _pictures("db")} == {(5, 5, 3)}
    caffecompat.build_database("list.txt", "colors", augment=2)
    assert "no effect" not in capsys.readouterr().err
    Path("t.txt").write_text(form % "mirror: true\n display: true ignore_label: 3\n")
    caffecompat.build_database("list.txt", "other", augment=2, transform="t.txt")
    said = capsys.readouterr().err
    assert "t.txt:2:2: transform_param.display" in said and "t.txt:2:16: transform_param.ignore_label" in said
    if "type" not in form:
        caffecompat.build_database("pairs.txt", "pairs", augment=2, transform="t.txt")
        said = capsys.readouterr().err
        assert "transform_param.display" in said and "ignore_label" not in said


FILES = {
    "miror: true": r"t\.txt:1:1: .*mirror",
    "transform_param { crop_size: x }": r"t\.txt:1:30: ",
    "mirror: true\n  crop_size: x": r"t\.txt:2:14: ",
    "transform_param { } include { }": r"t\.txt says nothing",
    "# nothing": r"t\.txt says nothing",
    "transform_param { mirror: true } data_param { batch_size: 1 }": "expected transform_param and .* found data_p",
    "crop_h: 3": "only one side of the crop",
    "scale_min: 0.5 scale_max: 2 short_side: 3": "two ways",
}


@pytest.mark.parametrize("text", FILES)
def test_what_the_file_cannot_mean(text: str) -> None:
    Path("t.txt").write_text(text)
    with pytest.raises(CaffeCompatError, match=FILES[text]):
        caffecompat.build_database("list.txt", "db", augment=2, transform="t.txt")
    assert not Path("db").exists() and not Path("db.partial").exists()


def test_what_belongs_to_the_net_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.txt").write_text("mirror: true scale: 0.1 mean_value: 104 std_value: 2 random_erase_param { prob: 1 }")
    caffecompat.build_database("list.txt", "db", augment=1, transform="net.txt")
    said = capsys.readouterr().err
    for name in ("scale", "std_value", "random_erase_param"):
        assert f"net.txt: {name} has no effect on the records" in said
    assert "t.txt: mean_value" not in said
    assert max(picture.max() for picture in _pictures("db")) == 120


@pytest.mark.parametrize(
    ("flags", "status"),
    [((), 0), (("--transform", "mirror.txt"), 0), (("--augment=0",), 2), (("--transform", "gone.txt"), 2)],
)
def test_the_verb(flags: Sequence[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lmdb", "build", "list.txt", "db", "--augment=3", "--resize=4x2", *flags]) == status
    if not status:
        assert "db: 9 records" in capsys.readouterr().out
        assert _pictures("db")[0].shape == (2, 4, 3)


def test_a_transform_alone_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lmdb", "build", "list.txt", "db", "--transform", "mirror.txt"]) == 2
    assert "--transform needs --augment" in capsys.readouterr().err
    with pytest.raises(BuildError, match="say how many times with augment"):
        caffecompat.build_database("list.txt", "db", transform="mirror.txt")
    for flags, message in (
        (["--resize", "4x2", "--resize-height", "3", "--resize-width", "3"], "take one of --resize and"),
        (["--resize", "4"], "--resize 4: expected WIDTHxHEIGHT"),
    ):
        assert main(["lmdb", "build", "list.txt", "db", *flags]) == 2
        assert message in capsys.readouterr().err
