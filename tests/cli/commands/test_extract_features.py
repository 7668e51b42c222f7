"""`caffecompat extract_features`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat.formats.database import open_database
from caffecompat.formats.datum import decode_datum
from caffecompat.net.interpreter import Interpreter
from caffecompat.pycaffe import TEST, Net


@pytest.fixture
def trained(golden: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(golden / "cli")
    return ["snap_iter_100.caffemodel", "train_val.prototxt"]


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_blobs_become_records(trained: list[str], tmp_path: Path, command, backend: str) -> None:
    pytest.importorskip("plyvel")
    names = f"{tmp_path}/conv1,{tmp_path}/ip"
    result = command("extract_features", *trained, "conv1,ip", names, "3", backend)
    assert result.status == 0, result.err
    net = Net("train_val.prototxt", trained[0], TEST)
    expected = {"conv1": [], "ip": []}
    for _ in range(3):
        net.forward()
        for name, rows in expected.items():
            rows.append(net.blobs[name].data.copy())
    for name, rows in expected.items():
        values = np.concatenate(rows)
        with open_database(tmp_path / name, backend) as database:
            records = list(database)
        assert [key for key, _ in records] == [b"%010d" % i for i in range(len(values))]
        for (_, record), row in zip(records, values, strict=True):
            datum = decode_datum(record)
            assert datum.label is None and datum.shape == (*row.shape, 1, 1)[:3]
            np.testing.assert_array_equal(datum.float_data, row.ravel())
    said = [line.split("] ", 1)[1] for line in result.err.splitlines() if "] " in line]
    assert said[-5:] == [
        f"Opening dataset {tmp_path}/conv1",
        f"Opening dataset {tmp_path}/ip",
        "Extracted features of 12 query images for feature blob conv1",
        "Extracted features of 12 query images for feature blob ip",
        "Successfully extracted the features!",
    ]
    assert said[0] == "Using CPU" and "Extracting Features" in said


def test_what_the_records_hold_is_read_back_by_a_data_layer(trained: list[str], tmp_path: Path, command) -> None:
    assert command("extract_features", *trained, "conv1", tmp_path / "db", "1", "lmdb").status == 0
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "d" type: "Data" top: "d" '
        f'data_param {{ source: "{tmp_path}/db" batch_size: 4 backend: LMDB }} }}'
    )
    features = Net(str(tmp_path / "net.prototxt"), TEST)
    features.forward()
    net = Net("train_val.prototxt", trained[0], TEST)
    net.forward()
    np.testing.assert_array_equal(features.blobs["d"].data, net.blobs["conv1"].data)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["conv1,ip", "db", "1", "lmdb"], "must be equal"),
        (
            ["accurracy", "db", "1", "lmdb"],
            "unknown feature blob name 'accurracy' in the network 'trace'; did you mean 'accuracy'?",
        ),
        (["conv1", "db", "0", "lmdb"], "at least 1"),
        (["conv1", "db", "1", "sqlite"], "unknown database backend 'sqlite'"),
        (["conv1", "db", "1", "lmdb", "TPU"], "expected CPU or GPU"),
    ],
)
def test_mistakes(trained: list[str], tmp_path: Path, command, words: list[str], message: str) -> None:
    words = [str(tmp_path / word) if word == "db" else word for word in words]
    result = command("extract_features", *trained, *words)
    assert result.status == 2 and message in result.err
    assert not (tmp_path / "db").exists()


def test_an_interrupted_run_leaves_no_database(
    trained: list[str], tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, made = Interpreter.forward, []

    def interrupted(self: Interpreter) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(sorted(path.name for path in tmp_path.iterdir()))
        forward(self)

    with monkeypatch.context() as patch:
        patch.setattr(Interpreter, "forward", interrupted)
        result = command("extract_features", *trained, "conv1,ip", f"{tmp_path}/a,{tmp_path}/b", "3", "lmdb")
    assert result.status == 130 and "Traceback" not in result.err
    assert made == [["a.partial", "b.partial"]] * 2
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_thrown_away(trained: list[str], tmp_path: Path, command) -> None:
    (tmp_path / "db.partial").mkdir()
    with open_database(tmp_path / "db.partial" / "out", "lmdb", "a") as database:
        database.put([(b"9999999999", b"stale")])
    (tmp_path / "db.partial" / "journal.json").write_text("{}")
    assert command("extract_features", *trained, "ip", f"{tmp_path}/db/", "1", "lmdb").status == 0
    with open_database(tmp_path / "db") as database:
        assert [key for key, _ in database] == [b"%010d" % i for i in range(4)]
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


@pytest.mark.parametrize(("names", "message"), [("old", "old exists already"), ("new,new", "twice the same")])
def test_no_database_is_written_over(trained: list[str], tmp_path: Path, command, names: str, message: str) -> None:
    (tmp_path / "old").mkdir()
    paths = ",".join(f"{tmp_path}/{name}" for name in names.split(","))
    blobs = ",".join(["conv1", "ip"][: names.count(",") + 1])
    result = command("extract_features", *trained, blobs, paths, "1", "lmdb")
    assert result.status == 2 and message in result.err
    assert [path.name for path in tmp_path.rglob("*")] == ["old"]
