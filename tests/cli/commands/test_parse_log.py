"""`caffecompat parse-log`."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def log(tmp_path: Path, golden: Path) -> Path:
    shutil.copy(golden / "cli/train.log", tmp_path)
    return tmp_path / "train.log"


def test_tables_beside_the_log(log: Path, command) -> None:
    result = command("parse-log", log)
    assert result.status == 0
    assert result.out.splitlines() == [f"wrote {log}.train (10 rows)", f"wrote {log}.test (6 rows)"]
    lines = Path(f"{log}.train").read_bytes().split(b"\r\n")
    assert lines[:3] == [
        b"NumIters,Seconds,LearningRate,l2,loss",
        b"0.0,0.000287,0.002,1.28045,2.87998",
        b"10.0,0.004103,0.002,0.905387,0.844292",
    ]
    with open(f"{log}.test", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["accuracy"] for row in rows] == ["0.0", "1.0", "1.0", "1.0", "1.0", "1.0"]


def test_folder_and_delimiter(log: Path, tmp_path: Path, command) -> None:
    assert command("parse_log", log, tmp_path / "new", "--delimiter", "tab", "--verbose").status == 0
    assert (tmp_path / "new/train.log.train").read_text().startswith("NumIters\tSeconds\tLearningRate\tl2\tloss\n")
    result = command("parse-log", log, "-delimiter=;;")
    assert result.status == 2 and "one character" in result.err


def test_json(log: Path, command) -> None:
    with log.open("a") as file:
        file.write("I1121 21:17:38.000000 28839 solver.cpp:239] Iteration 110, loss = nan\n")
        file.write("I1121 21:17:38.000000 28839 solver.cpp:258]     Train net output #0: loss = inf\n")
    table = json.loads(command("parse-log", log, "--json").out)
    assert (table["runs"], len(table["train"]), len(table["test"])) == (1, 12, 6)
    assert table["train"][1]["outputs"] == {"l2": 0.905387, "loss": 0.844292}
    assert table["train"][-1] == {
        "run": 0, "iteration": 110, "seconds": pytest.approx(0.540064), "learning_rate": 0.00025, "loss": None,
        "iterations_per_second": None, "outputs": {"loss": None},
    }  # fmt: skip
    assert not list(log.parent.glob("*.train"))


def test_a_log_without_tests_and_start(log: Path, command) -> None:
    lines = [line for line in log.read_text().splitlines() if "Solving" not in line and "Test" not in line]
    log.write_text("\n\n".join(lines))
    result = command("parse-log", log)
    assert result.status == 0 and "no 'Solving' line" in result.err and "no test rows" in result.err
    assert not Path(f"{log}.test").exists()


def test_no_log(golden: Path, command) -> None:
    result = command("parse-log", golden / "cli/time.log")
    assert result.status == 2 and "is no training log" in result.err
