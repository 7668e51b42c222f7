from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from caffecompat import threads

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No settings, torch not loaded."""
    for name in NAMES:
        monkeypatch.setenv(name, "gone again after the test")
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    return monkeypatch


def test_waiting_threads_spin_briefly(bare: pytest.MonkeyPatch) -> None:
    threads.share_cores()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    assert "OMP_NUM_THREADS" not in os.environ or threads.cores() < (os.cpu_count() or 1)


@pytest.mark.parametrize("name", NAMES[:3])
def test_what_the_user_set_stands(bare: pytest.MonkeyPatch, name: str) -> None:
    bare.setenv(name, "7")
    threads.share_cores()
    assert [os.environ.get(other) for other in NAMES[:3] if other != name] == [None, None]


def test_nothing_happens_once_torch_is_loaded(bare: pytest.MonkeyPatch) -> None:
    bare.setitem(sys.modules, "torch", threads)
    threads.share_cores()
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize(("text", "limit"), [("max 100000\n", 1 << 16), ("200000 100000\n", 2), ("50000 100000\n", 1)])
def test_container_quota(tmp_path: Path, text: str, limit: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert threads._quota(str(tmp_path)) == limit


def test_quota_below_the_machines_cores_limits_torch(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(threads, "_allowed", lambda: 64)
    bare.setattr(threads, "_quota", lambda: 3)
    threads.share_cores()
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert threads.loader_threads() == 1


def test_importing_the_package_is_enough() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    script = "import caffecompat, os, sys; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("10000 False\n", "")
