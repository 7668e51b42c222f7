"""Commands whose output nobody reads to the end."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffecompat.formats import open_caffemodel

_NET = """
layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 1 dim: 2 dim: 6 dim: 6 } } }
"""
_BLOCK = """
layer {{ name: "c{i}" type: "Convolution" bottom: "{b}" top: "c{i}"
  convolution_param {{ num_output: 2 kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "n{i}" type: "BatchNorm" bottom: "c{i}" top: "n{i}" }}
"""


def _shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which CC is the command; prints the exit status of each part of its pipe."""
    text = f'CC() {{ "{sys.executable}" -m caffecompat "$@"; }}\n{line}\nprintf "\\n%s" "${{PIPESTATUS[0]}}"'
    return subprocess.run(["bash", "-c", text], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def merged_later(tmp_path: Path) -> Path:
    """A folder with a net of many layers, so that the report of merge-bn is longer than a pipe holds unread."""
    from caffecompat.net import Net
    from caffecompat.schema import open_net

    text, below = _NET, "in"
    for i in range(40):
        text += _BLOCK.format(i=i, b=below)
        below = f"n{i}"
    (tmp_path / "net.prototxt").write_text(text)
    net = Net(open_net(str(tmp_path / "net.prototxt")), 1, log=False)
    for i in range(40):
        for blob, value in zip(net.blobs_by_layer()[f"n{i}"], (0, 1, 1), strict=True):
            blob[...] = value
    net.save(str(tmp_path / "net.caffemodel"))
    return tmp_path


@pytest.mark.parametrize("reader", ["head -1", "head -c 1", "true", "(exec <&-; sleep 3)"])
def test_files_are_written_though_nobody_reads(merged_later: Path, reader: str) -> None:
    done = _shell(f"CC merge-bn net.prototxt net.caffemodel m.prototxt m.caffemodel | {reader}", merged_later)
    assert done.stdout.split()[-1] == "0"
    assert "error" not in done.stderr and "Traceback" not in done.stderr
    assert (merged_later / "m.prototxt").exists()
    assert open_caffemodel(merged_later / "m.caffemodel").layers


@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_difference_stays_a_difference(tmp_path: Path, reader: str) -> None:
    for folder, value in (("a", 0.0), ("b", 1.0)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", np.full((1, 2), value, np.float32))
    assert _shell("CC compare-blobs a b", tmp_path).stdout.split()[-1] == "1"
    assert _shell(f"CC compare-blobs a b | {reader}", tmp_path).stdout.split()[-1] == "1"


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A folder with a small solver that snapshots at iteration 10."""
    (tmp_path / "net.prototxt").write_text("""
layer { name: "in" type: "DummyData" top: "in" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "in" top: "ip" inner_product_param { num_output: 1 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "ip" top: "loss" }
""")
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 10 display: 1 snapshot_prefix: "snap"'
    )
    return tmp_path


@pytest.mark.parametrize(
    "reader",
    [
        "2>&1 | head -1",
        "2>&1 | true",
        ">&- 2>&-",
        "2>/dev/full | true",
        "--progress always 2>&1 | head -1",
        "--progress always 2>/dev/full",
        ">/dev/full 2>/dev/full",
    ],
)
def test_training_goes_on_without_its_log(workdir: Path, reader: str) -> None:
    done = _shell(f"CC train --solver solver.prototxt {reader}", workdir)
    assert done.stdout.split()[-1] == "0"
    assert (workdir / "snap_iter_10.solverstate").exists()


def test_training_by_the_python_face_goes_on_without_its_log(workdir: Path) -> None:
    script = "from caffecompat.solver import Solver; Solver('solver.prototxt').train()"
    line = f'"{sys.executable}" -c "{script}"'
    assert _shell(f"{line} 2>&1 | head -1", workdir).stdout.split()[-1] == "0"
    assert (workdir / "snap_iter_10.solverstate").exists()
    (workdir / "snap_iter_10.solverstate").unlink()
    script = "import sys; sys.stderr.close(); from caffecompat.solver import Solver; Solver('solver.prototxt').train()"
    assert _shell(f'"{sys.executable}" -c "{script}"', workdir).stdout.split()[-1] == "0"
    assert (workdir / "snap_iter_10.solverstate").exists()


@pytest.mark.parametrize("verb", ["train", "summary"])
def test_errors_keep_their_status(tmp_path: Path, verb: str) -> None:
    assert _shell(f"CC {verb} --nonsense 2>&1 | true", tmp_path).stdout.split()[-1] == "2"


def test_a_pipe_that_is_named_as_the_output(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(_NET)
    line = "CC upgrade_net_proto_text net.prototxt /dev/stdout | true"
    assert _shell(line, tmp_path).stdout.split()[-1] == "0"


def test_how_often_python_collects_is_as_before(command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    before = gc.get_threshold()

    def run(args: object) -> int:
        seen.append(gc.get_threshold()[0])
        return 0

    monkeypatch.setattr("caffecompat.cli.commands.device_query.run", run)
    command("device_query")
    assert seen[0] > before[0] and gc.get_threshold() == before
