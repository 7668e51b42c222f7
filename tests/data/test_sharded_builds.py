"""Databases built in shards: whole, resumable, and read as one by the layers and verbs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

import caffecompat
from caffecompat.cli.main import main
from caffecompat.data import build as build_module
from caffecompat.data import make_source
from caffecompat.data.build import BadRecord, BuildError, Plan, write_database
from caffecompat.formats.database import open_database
from tests import data_set_trees as trees
from tests.api_examples import write_examples
from tests.data.batches import TEST, layer


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six pictures of six classes, each with a label picture and an annotation."""
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        cv2.imwrite(f"{number}.png", np.full((4, 4, 3), 10 * number, np.uint8))
        cv2.imwrite(f"{number}_labels.png", np.full((4, 4), number, np.uint8))
        trees.voc_xml(Path(f"{number}.xml"), *["dog"] * number)
    for name, line in (("list", "{0}.png {0}"), ("pairs", "{0}.png {0}_labels.png"), ("boxes", "{0}.png {0}.xml")):
        Path(f"{name}.txt").write_text("".join(line.format(number) + "\n" for number in range(6)))
    return tmp_path


def _records(source: str) -> list[tuple[bytes, bytes]]:
    with open_database(source) as database:
        return list(database)


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
@pytest.mark.parametrize("source", ["list.txt", "pairs.txt", "boxes.txt"])
def test_every_kind_of_build_is_the_same_in_shards(source: str, backend: str) -> None:
    if backend == "leveldb":
        pytest.importorskip("plyvel")
    caffecompat.build_database(source, "whole", backend=backend)
    report = caffecompat.build_database(source, "db", backend=backend, shards=2)
    assert (report.written, report.bad) == (6, {})
    parts = ("/image", "/label") if source == "pairs.txt" else ("",)
    for part in parts:
        shards = [f"db{part}/shard-{shard:05}-of-00002" for shard in range(2)]
        assert [len(_records(shard)) for shard in shards] == [3, 3]
        assert _records(f"db{part}") == _records(f"whole{part}") == _records(",".join(shards))
    assert not Path("db.partial").exists()


def test_records_are_spread_evenly() -> None:
    caffecompat.build_database("list.txt", "db", shards=4)
    assert [len(_records(f"db/shard-{shard:05}-of-00004")) for shard in range(4)] == [2, 1, 2, 1]
    for shards in (7, 10**9):
        with pytest.raises(BuildError, match=f"{shards} shards of 6 records: expected 1 to 6"):
            caffecompat.build_database("list.txt", "more", shards=shards)
    assert not Path("more.partial").exists()
    with pytest.raises(caffecompat.CaffeCompatError, match="shards 0: expected a whole number of at least 1"):
        caffecompat.build_database("list.txt", "more", shards=0)


KEYS = [b"%04d" % index for index in range(50)]


def _interrupted(stop: int, error: type[BaseException]) -> tuple[Callable[[int], Sequence[bytes]], list[int]]:
    made: list[int] = []

    def encode(index: int) -> Sequence[bytes]:
        if index == stop:
            raise error(f"record {index}")
        made.append(index)
        return (b"value %d" % index,)

    return encode, made


def test_an_interrupted_build_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "_BATCH_RECORDS", 8)
    encode, _ = _interrupted(29, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt, match="keeps 24 records"):
        write_database("db", Plan(KEYS, encode, "x", shards=5), threads=1)
    assert Path("db.partial").is_dir() and not Path("db").exists()
    encode, made = _interrupted(-1, KeyboardInterrupt)
    write_database("db", Plan(KEYS, encode, "x", shards=5), threads=1)
    assert made == list(range(24, 50))
    assert _records("db") == [(key, b"value %d" % index) for index, key in enumerate(KEYS)]
    assert [len(_records(f"db/shard-{shard:05}-of-00005")) for shard in range(5)] == [10] * 5


def test_another_count_of_shards_starts_over() -> None:
    encode, _ = _interrupted(7, BadRecord)
    with pytest.raises(BuildError):
        write_database("db", Plan(KEYS, encode, "x", shards=5))
    encode, made = _interrupted(-1, BadRecord)
    write_database("db", Plan(KEYS, encode, "x", shards=2), threads=1)
    assert len(made) == 50 and sorted(os.listdir("db")) == ["shard-00000-of-00002", "shard-00001-of-00002"]


def test_bad_records_are_made_again_in_their_shards() -> None:
    encode, _ = _interrupted(7, BadRecord)
    with pytest.raises(BuildError, match="record 7"):
        write_database("db", Plan(KEYS, encode, "x", shards=5))
    encode, made = _interrupted(-1, BadRecord)
    write_database("db", Plan(KEYS, encode, "x", shards=5), threads=1)
    assert made == [7] and [key for key, _ in _records("db")] == KEYS


def test_a_shard_without_good_records_is_there_and_empty() -> None:
    def encode(index: int) -> Sequence[bytes]:
        if index >= 25:
            raise BadRecord("bad")
        return (b"v",)

    write_database("db", Plan(KEYS, encode, "x", shards=2), skip_bad=True)
    assert len(_records("db")) == 25 and _records("db/shard-00001-of-00002") == []


DATA = 'type: "%s" top: "data" top: "label" %s { %s batch_size: 4 }'


@pytest.mark.parametrize("source", ["db", "db/shard-*"])
@pytest.mark.parametrize("kind", ["Data", "AnnotatedData", "ImageLabelData"])
def test_layers_read_shards_as_one(kind: str, source: str, folder: Path) -> None:
    lists = {"Data": "list.txt", "AnnotatedData": "boxes.txt", "ImageLabelData": "pairs.txt"}
    caffecompat.build_database(lists[kind], "whole")
    caffecompat.build_database(lists[kind], "db", shards=3)

    def batches(name: str) -> list[bytes]:
        if kind == "ImageLabelData":
            images, labels = name.replace("db", "db/image"), name.replace("db", "db/label")
            if name == "whole":
                images, labels = "whole/image", "whole/label"
            text = DATA % (kind, "image_label_data_param", f'image_list_path: "{images}" label_list_path: "{labels}" '
                           "backend: LMDB")  # fmt: skip
        else:
            text = DATA % (kind, "data_param", f'source: "{name}" backend: LMDB')
        with make_source(layer(text), TEST, relative_to=folder / "net.prototxt") as made:
            return [b"".join(np.ascontiguousarray(top).tobytes() for top in made.next()) for _ in range(4)]

    assert batches(source) == batches("whole")


def test_errors_of_layers_name_what_is_missing(folder: Path) -> None:
    caffecompat.build_database("list.txt", "db", shards=2)
    (folder / "db/shard-00000-of-00002").rename(folder / "away")
    text = DATA % ("Data", "data_param", 'source: "db" backend: LMDB')
    with pytest.raises(caffecompat.CaffeCompatError, match=r"db: shard 0 of 2 is missing"):
        make_source(layer(text), TEST)
    text = DATA % ("Data", "data_param", 'source: "gone" backend: LMDB')
    with pytest.raises(caffecompat.CaffeCompatError, match=r"data_param\.source: gone: there is no such file"):
        make_source(layer(text), TEST)


def test_verbs_take_shards_and_patterns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("names.txt").write_text("".join(f"class {number}\n" for number in range(6)))
    assert main(["lmdb", "build", "list.txt", "db", "--shards", "2", "--names", "names.txt"]) == 0
    assert "db: 6 records in 2 shards" in capsys.readouterr().out
    for source in ("db", "db/shard-*"):
        assert main(["lmdb", "info", source]) == 0
        shown = capsys.readouterr().out
        assert f"{source}: LMDB, 6 records" in shown and "class 3" in shown
        assert main(["lmdb", "verify", source, "--classes", "6"]) == 0
        assert main(["lmdb", "show", source, "--start", "00000004_4.png"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines if line.startswith("0000")] == ["00000004_4.png", "00000005_5.png"]
    assert Path("db.png").exists() and Path("shard-_.png").exists()
    assert main(["compute_image_mean", "db", "mean.binaryproto"]) == 0
    assert main(["lmdb", "split", "db", "train", "val", "--fraction", "0.5"]) == 0
    assert (len(_records("train")), len(_records("val"))) == (3, 3)
    assert main(["lmdb", "build", "pairs.txt", "pairs", "--shards", "2"]) == 0
    assert main(["lmdb", "info", "pairs"]) == 0
    assert "pairs/label: LMDB, 6 records" in capsys.readouterr().out
    capsys.readouterr()
    for source, shard in (("db", "db"), ("db/shard-*", "db"), ("pairs", "pairs/label")):
        file = f"{shard}/shard-00000-of-00002/data.mdb"
        assert main(["lmdb", "show", source, "--out", file]) == 2
        assert f"{file} is read; the result would be written over it" in capsys.readouterr().err
    (folder / "db/shard-00001-of-00002").rename(folder / "away")
    for part in ("info", "verify", "show"):
        assert main(["lmdb", part, "db"]) == 2
        assert "db: shard 1 of 2 is missing" in capsys.readouterr().err


def test_a_damaged_shard_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    caffecompat.build_database("list.txt", "db", shards=2)
    path = Path("db/shard-00001-of-00002/data.mdb")
    path.write_bytes(path.read_bytes()[:5000])
    assert main(["lmdb", "verify", "db"]) == 2
    assert "db/shard-00001-of-00002" in capsys.readouterr().err


def test_nets_are_scored_on_shards() -> None:
    write_examples()
    caffecompat.build_database("list.txt", "pictures", shards=2)
    caffecompat.build_database("boxes.txt", "boxes", shards=2)
    for data in ("pictures", "pictures/shard-*", "list.txt"):
        result = caffecompat.evaluate_classification("deploy.prototxt", "net.caffemodel", data, ks=(1,))
        assert result.counts.tolist() == [[2, 0], [0, 2]]
    Path("pairs.txt").write_text("scene.png scene_labels.png\n" * 2)
    caffecompat.build_database("pairs.txt", "two", shards=2)
    for data in ("two", "tw*"):
        matrix = caffecompat.evaluate_segmentation("segment.prototxt", "segment.caffemodel", data)
        assert matrix.counts.diagonal().sum() == matrix.counts.sum() == 128
    for data in ("boxes", "boxes/shard-*"):
        tally = caffecompat.evaluate_detection("detect.prototxt", "detect.caffemodel", data)
        assert tally.mean_average_precision("Integral") == 1
