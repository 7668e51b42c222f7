"""caffecompat lmdb build, info, show, verify, split."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from caffecompat.cli.main import main
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import decode_datum


@pytest.fixture
def images(golden):
    return golden / "data/images"


@pytest.fixture
def classes(images, tmp_path):
    """A folder of two class folders."""
    for name, numbers in (("cat", range(5)), ("dog", range(5, 9))):
        (tmp_path / "classes" / name).mkdir(parents=True)
        for path in sorted(images.glob("im0*")):
            if int(path.name[2:4]) in numbers:
                shutil.copy(path, tmp_path / "classes" / name)
    return tmp_path / "classes"


@pytest.fixture
def pair(golden, tmp_path):
    """A built pair of databases."""
    assert main(["lmdb", "build", str(golden / "segmentation/img_seg.txt"), str(tmp_path / "pair")]) == 0
    return tmp_path / "pair"


def labels(path):
    with open_database(path) as database:
        return {key[9:].decode(): decode_datum(record).label for key, record in database}


def test_class_folders_become_a_mixed_database_with_names(classes, tmp_path, capfd):
    out = tmp_path / "db"
    assert main(["lmdb", "build", str(classes), str(out), "--resize_height=32", "--resize-width", "32"]) == 0
    assert "9 records" in capfd.readouterr().out
    found = labels(out)
    assert found["cat/im00.jpg"] == 0
    assert found["dog/im08.png"] == 1
    assert list(found) != sorted(found)
    assert (out / "classes.txt").read_text() == "cat\ndog\n"
    assert main(["lmdb", "info", str(out)]) == 0
    said = capfd.readouterr().out
    assert "9 of 3x32x32" in said
    assert "cat" in said
    assert main(["lmdb", "verify", str(out), "--classes", "2"]) == 0
    assert main(["lmdb", "verify", str(out), "--classes", "1"]) == 1
    assert "has label 1; expected 0 to 0" in capfd.readouterr().out


def test_folders_above_are_made(classes, tmp_path, capfd):
    assert main(["lmdb", "build", str(classes), str(tmp_path / "none/of/them/db/")]) == 0
    assert main(["lmdb", "split", str(tmp_path / "none/of/them/db"), *(str(tmp_path / f"{n}/db") for n in "ab")]) == 0
    assert all((tmp_path / name / "data.mdb").exists() for name in ("none/of/them/db", "a/db", "b/db"))


def test_noshuffle_keeps_the_classes_in_order(classes, tmp_path):
    assert main(["lmdb", "build", str(classes), str(tmp_path / "db"), "--noshuffle"]) == 0
    assert list(labels(tmp_path / "db")) == sorted(labels(tmp_path / "db"))


def test_a_list_keeps_its_order_and_is_found_from_its_own_folder(images, tmp_path, capfd):
    shutil.copytree(images, tmp_path / "set")
    (tmp_path / "set/list.txt").write_text("im01.png 4\nim with space.png 2\nim00.jpg 3\n")
    assert main(["lmdb", "build", str(tmp_path / "set/list.txt"), str(tmp_path / "db")]) == 0
    assert "is not in the current directory" in capfd.readouterr().err
    assert labels(tmp_path / "db") == {"im01.png": 4, "im with space.png": 2, "im00.jpg": 3}
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\ne\n")
    words = ["--root", str(images), "--shuffle", "--names", str(names)]
    assert main(["lmdb", "build", str(tmp_path / "set/list.txt"), str(tmp_path / "db2"), *words]) == 0
    assert (tmp_path / "db2/classes.txt").read_text() == names.read_text()
    assert main(["lmdb", "build", str(tmp_path / "set/list.txt"), str(tmp_path / "db3"), "--names", "none"]) == 2


def test_missing_files_are_all_named_before_anything_is_written(images, tmp_path, capfd):
    (tmp_path / "list.txt").write_text("im00.jpg 1\nno1.jpg 2\nim01.png 3\nno2.jpg 4\n")
    words = ["lmdb", "build", str(tmp_path / "list.txt"), str(tmp_path / "db"), "--root", str(images)]
    assert main(words) == 2
    said = capfd.readouterr().err
    assert "2 of 4 files are missing" in said
    assert "list.txt:2: " in said
    assert "list.txt:4: " in said
    assert os.listdir(tmp_path) == ["list.txt"]
    assert main([*words, "--skip-bad"]) == 0
    assert "2 records, 2 left out" in capfd.readouterr().out
    assert labels(tmp_path / "db") == {"im00.jpg": 1, "im01.png": 3}


def test_a_damaged_picture_is_named_and_can_be_mended(classes, images, tmp_path, capfd):
    broken = classes / "cat/im01.png"
    broken.write_bytes(broken.read_bytes()[:700])
    words = ["lmdb", "build", str(classes), str(tmp_path / "db")]
    assert main(words) == 2
    said = capfd.readouterr().err
    assert "1 of 9 records could not be made" in said
    assert f"{broken} is cut off" in said
    assert not (tmp_path / "db").exists()
    shutil.copy(images / "im01.png", broken)
    assert main(words) == 0
    assert len(labels(tmp_path / "db")) == 9


def test_pairs_make_two_databases_with_the_same_keys(pair, golden, capfd):
    with open_database(pair / "image") as image, open_database(pair / "label") as label:
        assert list(image.keys()) == list(label.keys())
        record = decode_datum(next(iter(label))[1])
    expected = cv2.imread(str(golden / "segmentation/labels/00.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(record.image()[:, :, 0], expected)
    assert main(["lmdb", "verify", str(pair), "--classes", "19"]) == 0
    assert main(["lmdb", "verify", str(pair), "--classes", "10"]) == 1
    last = capfd.readouterr().out.splitlines()[-2:]
    assert last[0].endswith("label: 8 of 8 records are wrong: 8 with a wrong label")
    assert last[1] == f"{pair}: 2 databases, the same keys, 8 of 16 records are wrong"
    assert main(["lmdb", "info", str(pair), "--json"]) == 0
    image_info, label_info = json.loads(capfd.readouterr().out)
    assert image_info["shapes"] == {"3x64x96": 8}
    assert sum(label_info["labels"].values()) == 8 * 64 * 96
    assert "255" in label_info["labels"]


def test_show_draws_records_and_says_what_they_are(pair, golden, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["lmdb", "show", str(pair), "--count", "2", "--size", "96"]) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0].startswith("00000000_images/00.png  png 3x64x96  png 1x64x96  classes 0 1 4")
    assert said[-1] == "wrote pair.png"
    sheet = cv2.imread("pair.png")
    assert sheet.shape[1] > 2 * 96
    lmdb = str(golden / "data/db_encorig_lmdb")
    assert main(["lmdb", "show", lmdb, "--out", "s.jpg", "--start", "00000007", "--count", "9"]) == 0
    said = capfd.readouterr().out.splitlines()
    assert [line.split("  ")[:2] for line in said[:-1]] == [
        ["00000007_im07.png", "label 2"],
        ["00000008_im08.png", "label 1"],
        ["00000009_im with space.png", "label 3"],
    ]
    assert main(["lmdb", "show", lmdb, "--out", "r.png", "--random", "--seed", "1", "--count", "3"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 4
    assert main(["lmdb", "show", lmdb, "--start", "99"]) == 2
    assert main(["lmdb", "show", lmdb, "--out", "sheet"]) == 2
    assert "name ends in .png" in capfd.readouterr().err


def test_show_marks_damaged_records(golden, tmp_path, capfd):
    with open_database(tmp_path / "db", "lmdb", "w") as writer:
        writer.put([(b"bad", b"\xff"), (b"good", b"\x08\x01\x10\x01\x18\x01\x22\x01\x05")])
    assert main(["lmdb", "show", str(tmp_path / "db"), "--out", str(tmp_path / "s.png")]) == 0
    assert "bad  label 0  damaged: the record is not a Datum" in capfd.readouterr().out
    assert main(["lmdb", "verify", str(tmp_path / "db")]) == 1
    assert main(["lmdb", "info", str(tmp_path / "db")]) == 0
    assert "damaged   1 records: bad" in capfd.readouterr().out


def test_split_and_its_mistakes(pair, tmp_path, capfd):
    words = ["lmdb", "split", str(pair), str(tmp_path / "train"), str(tmp_path / "val"), "--fraction", "0.25"]
    assert main(words) == 0
    assert capfd.readouterr().out == f"{tmp_path}/train: 6 records\n{tmp_path}/val: 2 records\n"
    assert main(["lmdb", "verify", str(tmp_path / "val")]) == 0
    assert main(words) == 2
    assert "train exists already" in capfd.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["build"],
        ["nonsense"],
        ["info", "none"],
        ["build", "none.txt", "out"],
        ["build", ".", "out", "--encode", "gif"],
    ],
)
def test_wrong_usage_exits_with_2(words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["lmdb", *words]) == 2
    assert capfd.readouterr().err.startswith("error: ")
    assert os.listdir(tmp_path) == []


def test_a_killed_build_goes_on_and_ends_as_if_nothing_had_happened(images, tmp_path):
    """kill -9 of the command in the middle; the records afterwards are those of an undisturbed build."""
    names = sorted(path.name for path in images.glob("im0*"))
    (tmp_path / "list.txt").write_text("".join(f"{names[i % 9]} {i}\n" for i in range(2200)))
    flags = [
        "--root",
        str(images),
        "--encode",
        "png",
        "--resize-height",
        "96",
        "--resize-width",
        "96",
        "--threads",
        "1",
    ]
    words = [
        sys.executable,
        "-m",
        "caffecompat",
        "lmdb",
        "build",
        str(tmp_path / "list.txt"),
        str(tmp_path / "db"),
        *flags,
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
    journal = tmp_path / "db.partial/journal.json"
    deadline = time.monotonic() + 60
    while not journal.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert sorted(os.listdir(tmp_path)) == ["db.partial", "list.txt"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "db.partial after" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["db", "list.txt"]
    with open_database(tmp_path / "db") as database:
        seen = [(key, decode_datum(record).label) for key, record in database]
    assert seen == [(b"%08d_%s" % (i, names[i % 9].encode()), i) for i in range(2200)]
