"""How a training by the command line ends: a closed terminal, SIGTERM, no memory, a picture that is gone."""

from __future__ import annotations

import contextlib
import os
import pty
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

_NET = """
layer { name: "in" type: "DummyData" top: "in" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "in" top: "ip" inner_product_param { num_output: 1 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "ip" top: "loss" }
"""
_SOLVER = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1000000 display: 1 snapshot_prefix: "snap"'


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(_NET)
    (tmp_path / "solver.prototxt").write_text(_SOLVER)
    return tmp_path


def _train(
    *flags: str, stderr: int = subprocess.PIPE, before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "caffecompat", "train", "--solver", "solver.prototxt", *flags]
    return subprocess.Popen(line, stdin=stderr, stdout=stderr, stderr=stderr, text=True, preexec_fn=before)


@pytest.mark.parametrize("signal_too", [False, True], ids=["EIO alone", "with SIGHUP"])
@pytest.mark.parametrize("progress", ["never", "always"])
def test_a_closed_terminal(workdir: Path, signal_too: bool, progress: str) -> None:
    ours, theirs = pty.openpty()
    run = _train("--progress", progress, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"Iteration 3 " not in seen:
        seen = seen[-200:] + os.read(ours, 4096)
    os.close(ours)
    if signal_too:
        run.send_signal(signal.SIGHUP)
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(1)
    assert run.poll() is None  # it goes on
    run.terminate()
    assert run.wait(60) == 0
    states = list(workdir.glob("snap_iter_*.solverstate"))
    assert len(states) == (2 if signal_too else 1)


def test_a_picture_that_is_gone_late_in_a_run(workdir: Path) -> None:
    names = [f"{i}.png" for i in range(20)]
    for name in names[:15]:
        cv2.imwrite(name, np.zeros((4, 4, 3), np.uint8))
    Path("list.txt").write_text("".join(f"{name} 0\n" for name in names))
    Path("net.prototxt").write_text("""
layer { name: "d" type: "ImageData" top: "d" top: "l" image_data_param { source: "list.txt" batch_size: 1 } }
layer { name: "ip" type: "InnerProduct" bottom: "d" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "l" top: "loss" }
""")
    run = _train()
    told = run.communicate(timeout=60)[1]
    assert run.returncode == 1
    assert "error: list.txt:16: " in told and "15.png" in told.splitlines()[-1]
    assert (workdir / "snap_iter_15.solverstate").exists()


def test_no_memory(workdir: Path) -> None:
    text = _NET.replace("dim: 2 dim: 3", "dim: 64 dim: 1000").replace("num_output: 1 ", "num_output: 100000000 ")
    Path("net.prototxt").write_text(text)
    limit = 6_000_000_000
    run = _train(before=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    told = run.communicate(timeout=60)[1]
    assert run.returncode == 1 and "Traceback" not in told
    assert told.splitlines()[-1].startswith("error: not enough memory: 400.00 GB were asked for by layer 'ip'")


def test_a_dry_run_touches_nothing(workdir: Path) -> None:
    for name in ("snap", "snap.tempfile", "snap_iter_5.caffemodel"):
        Path(name).write_text("mine")
    before = {path.name: path.stat().st_mtime_ns for path in workdir.iterdir()}
    run = _train("--dry-run")
    run.communicate(timeout=60)
    assert run.returncode == 0
    assert {path.name: path.stat().st_mtime_ns for path in workdir.iterdir()} == before
