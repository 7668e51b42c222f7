"""A small slice of tools/crash: killed and disturbed runs go on and end as they should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the tools need Linux")


def run(script: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/crash" / script), *words], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_runs_go_on_bit_for_bit() -> None:
    printed = run("crash.py", "--kills", "24", "--seed", "2", "--only", "Adam")
    assert printed.count("bit-equal") == 14
    assert re.search(r"^24 kills, .* 0 of 14 bad$", printed, re.MULTILINE)


def test_one_of_several_processes_killed() -> None:
    printed = run("crash.py", "--kills", "5", "--seed", "1", "--only", "hdf5 shuffled, SGD, HDF5, 2 processes")
    assert re.search(r"^5 kills, .* 0 of 1 bad$", printed, re.MULTILINE)


def test_a_command_of_ones_own(tmp_path: Path) -> None:
    """A run that forgets its data is found out."""
    files = tmp_path / "files"
    files.mkdir()
    sys.path.insert(0, str(ROOT / "tools/crash"))
    try:
        from scenarios import SCENARIOS, TRAIN  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    SCENARIOS[0].write(files)
    words = [str(ROOT / "tools/crash/crash.py"), "--kills", "20", "--folder", str(files), "--", *TRAIN]
    done = subprocess.run([sys.executable, *words, "--resume-like-caffe"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and done.stdout.endswith("1 of 1 bad\n")  # by its files or by its log


def test_full_disks() -> None:
    printed = run("full_disk.py", "--only", "lmdb, SGD, HDF5", "--every", "30")
    for kind in ("once", "snapshots", "everywhere", "log"):
        assert re.search(f"full, {kind} .*: [1-9]", printed), printed


def test_folders_and_data_that_go_away() -> None:
    printed = run("removed.py", "--only", "list shuffled, Adam, B", "--every", "60")
    assert re.search("folder removed .*elsewhere: [1-9]", printed), printed
