"""A small, always equal slice of tools/fuzz: no reader dies, hangs or raises what is no error of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("plyvel")
ROOT = Path(__file__).parents[2]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools/fuzz/run.py"), *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=600,
    )


def test_no_reader_fails_on_damaged_files() -> None:
    done = run("--count", "40")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("lmdb", "leveldb", "leveldb_entries", "datum", "picture", "hdf5", "npy", "state", "annotations", "text")
    ]
    assert all("refused" in line for line in lines)


def test_a_number_always_means_the_same_damage(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert run("annotations", "--keep", str(tmp_path / folder), "--start", "5").returncode == 0
    made = [next((tmp_path / folder).glob("x_*")) for folder in ("a", "b")]
    assert made[0].name == made[1].name
    assert made[0].read_bytes() == made[1].read_bytes()
