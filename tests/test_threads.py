from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
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
    monkeypatch.setattr(threads, "_configured", False)
    return monkeypatch


def test_waiting_threads_spin_briefly(bare: pytest.MonkeyPatch) -> None:
    threads.configure_threads()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    assert "OMP_NUM_THREADS" not in os.environ or threads.cores() < (os.cpu_count() or 1)


@pytest.mark.parametrize("name", NAMES[:3])
def test_what_the_user_set_stands(bare: pytest.MonkeyPatch, name: str) -> None:
    bare.setenv(name, "7")
    threads.configure_threads()
    assert [os.environ.get(other) for other in NAMES[:3] if other != name] == [None, None]


def test_waiting_is_settled_once_torch_is_loaded(bare: pytest.MonkeyPatch) -> None:
    bare.setitem(sys.modules, "torch", threads)
    bare.setattr(threads, "_quota", lambda: 1 << 16)
    threads.configure_threads()
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize(("before", "after"), [(64, 3), (2, 2)])
def test_a_loaded_torch_is_held_to_the_quota(bare: pytest.MonkeyPatch, before: int, after: int) -> None:
    numbers = [before]
    bare.setitem(
        sys.modules,
        "torch",
        SimpleNamespace(get_num_threads=lambda: numbers[-1], set_num_threads=numbers.append),  # type: ignore[arg-type]
    )
    bare.setattr(threads, "_allowed", lambda: 64)
    bare.setattr(threads, "_quota", lambda: 3)
    threads.configure_threads()
    assert (numbers[-1], os.environ.get("OMP_NUM_THREADS")) == (after, None)


@pytest.mark.parametrize(("text", "limit"), [("max 100000\n", 1 << 16), ("200000 100000\n", 2), ("50000 100000\n", 1)])
def test_container_quota(tmp_path: Path, text: str, limit: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert threads._quota(str(tmp_path)) == limit


def test_quota_below_the_machines_cores_limits_torch(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(threads, "_allowed", lambda: 64)
    bare.setattr(threads, "_quota", lambda: 3)
    threads.configure_threads()
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert threads.loader_threads() == 1


def _run(script: str) -> str:
    """What a script prints in a process of its own, whose environment sets nothing of threads."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


NET = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }"""
IMAGES = """layer { name: "data" type: "ImageData" top: "data" top: "label"
  image_data_param { source: "%s/list.txt" batch_size: 2 new_height: 8 new_width: 8 } }"""


def test_importing_and_using_the_package_leaves_the_process_alone(tmp_path: Path) -> None:
    (tmp_path / "deploy.prototxt").write_text(NET)
    (tmp_path / "images.prototxt").write_text(IMAGES % tmp_path)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9, 9, 3), np.uint8))
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.png 0\n")
    changed = _run(f"""
import faulthandler, logging, os, signal, sys, warnings

package = logging.getLogger("caffecompat")

def look():
    state = dict(
        environment=dict(os.environ), handlers=list(logging.root.handlers), level=logging.root.level,
        signals=[signal.getsignal(number) for number in sorted(signal.valid_signals())],
        hooks=(sys.excepthook, sys.unraisablehook, sys.displayhook), streams=(sys.stdout, sys.stderr),
        log=(package.handlers[:], package.level, package.propagate),
        faults=faulthandler.is_enabled(), folder=os.getcwd(), path=list(sys.path),
    )
    if "torch" in sys.modules:
        torch, cv2 = sys.modules["torch"], sys.modules["cv2"]
        state.update(
            cv2=cv2.getNumThreads(), torch=(torch.get_num_threads(), torch.get_num_interop_threads()),
            grad=torch.is_grad_enabled(), dtype=torch.get_default_dtype(), filters=list(warnings.filters),
            rng=torch.random.get_rng_state().tolist(), determined=torch.are_deterministic_algorithms_enabled(),
        )
    return state

def compare(before, what):
    after = look()
    for name in before:
        if before[name] != after[name]:
            print(what, "changes", name, [pair for pair in zip(before[name], after[name]) if pair[0] != pair[1]]
                  if isinstance(before[name], list) else (before[name], after[name]))

before = look()
import caffecompat
compare(before, "import")
import caffecompat.pycaffe
compare(before, "import of pycaffe")
import cv2, torch
cv2.setNumThreads(2)
before = look()
module = caffecompat.load_net({str(tmp_path / "deploy.prototxt")!r})
module(torch.zeros(1, 1, 4, 4))
del before["rng"]  # fillers draw
compare(before, "load_net")
from caffecompat.data import make_source
from caffecompat.net import Net
net = Net({str(tmp_path / "images.prototxt")!r}, "TRAIN", sources=make_source, log=False)
net.forward()
net.close()
compare(before, "a net with a data layer")
""")
    assert changed == ""


def test_loader_threads_take_opencvs_place_where_configured() -> None:
    script = """
import cv2, caffecompat
from caffecompat.threads import start_loader_thread
cv2.setNumThreads(2)
if {configured}:
    caffecompat.configure_threads()
start_loader_thread(lambda: None).join()
print(cv2.getNumThreads())"""
    assert [_run(script.format(configured=configured)).strip() for configured in (False, True)] == ["2", "1"]


@pytest.mark.parametrize(
    "call",
    [
        "import caffecompat; caffecompat.configure_threads()",
        "from caffecompat.cli.main import main; main(['--version'])",
        "import caffecompat.pycaffe as c; c.install()",
    ],
)
def test_who_configures(call: str) -> None:
    printed = _run(f"{call}\nimport os; print(os.environ['GOMP_SPINCOUNT'], os.environ['KMP_BLOCKTIME'])")
    assert printed.splitlines()[-1] == "10000 1"


def test_the_command_line_configures_before_torch_is_loaded() -> None:
    assert _run("import caffecompat.cli.main, sys; print('torch' in sys.modules, 'cv2' in sys.modules)") == (
        "False False\n"
    )


def test_loader_threads_are_those_chosen_or_asked_for() -> None:
    usual = threads.loader_threads()
    assert usual == max(1, min(8, threads.cores() // 2)) and threads.loader_threads(3) == 3
    threads.share_cores(threads.cores())
    assert (threads.loader_threads(), threads.loader_threads(3)) == (1, 3)
    threads.share_cores(1)
    threads.choose_loader_threads(5)
    assert (threads.loader_threads(), threads.loader_threads(3)) == (5, 5)
    threads.choose_loader_threads(0)
    assert (threads.loader_threads(), threads.loader_threads(3)) == (usual, 3)
