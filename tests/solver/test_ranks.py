"""Several processes that train one net are one process that takes all their batches."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import torch

from caffecompat import CaffeCompatError, Solver
from caffecompat.cli.common.processes import _free_port
from caffecompat.formats import open_weights
from caffecompat.solver.ranks import ALONE, Place, nodes_first, place_of
from tests.solver.rank_worker import train

ROOT = Path(__file__).parents[2]
DATA = 'layer { name: "data" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "data.txt" %s } }'
IMAGES = (
    'layer { name: "data" type: "ImageData" top: "data" top: "label" image_data_param { source: "list.txt" '
    "batch_size: 4 shuffle: true } transform_param { scale: 0.01 mirror: true } }"
)
CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4
  kernel_size: 3 weight_filler { type: "xavier" } } }"""
NORM = """layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "norm" }
layer { name: "scale" type: "Scale" bottom: "norm" top: "conv1" scale_param { bias_term: true } }"""
REST = """layer { name: "relu" type: "ReLU" bottom: "%s" top: "relu" }
layer { name: "ip" type: "InnerProduct" bottom: "relu" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "unused" type: "InnerProduct" bottom: "relu" top: "unused" inner_product_param { num_output: 2 } }
layer { name: "silence" type: "Silence" bottom: "unused" }"""
NETS = {
    "rows": "\n".join([DATA % "batch_size: 4", CONV, REST % "conv"]),
    "images": "\n".join([IMAGES, CONV, REST % "conv"]),
    "norm": "\n".join([DATA % "batch_size: 4", CONV, NORM, REST % "conv1"]),
    "large": "\n".join([DATA % "batch_size: 8", CONV, NORM, REST % "conv1"]),
}
SOLVER = """net: "%s.prototxt" base_lr: 0.05 lr_policy: "step" gamma: 0.5 stepsize: 7 weight_decay: 0.001 max_iter: 20
snapshot_prefix: "snap" random_seed: 3 test_iter: 5 test_interval: 100 snapshot_after_train: false solver_mode: CPU %s
"""
RULES = {
    "sgd": ("rows", "momentum: 0.9"),
    "adam": ("rows", 'type: "Adam" momentum: 0.9'),
    "nesterov": ("rows", 'type: "Nesterov" momentum: 0.9'),
    "passes": ("rows", "momentum: 0.9 iter_size: 2"),
    "images": ("images", "momentum: 0.9"),
    "clipped": ("rows", "momentum: 0.9 clip_gradients: 0.3"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nets, solvers and data; 22 records, so that batches straddle their end."""
    at = tmp_path_factory.mktemp("ranks")
    generator = np.random.default_rng(0)
    with h5py.File(at / "data.h5", "w") as file:
        labels = generator.integers(0, 3, 22)
        file["data"] = (labels[:, None, None, None] + generator.standard_normal((22, 2, 6, 6))).astype("f4")
        file["label"] = labels.astype("f4")
    (at / "data.txt").write_text("data.h5\n")
    for number in range(22):
        cv2.imwrite(str(at / f"{number}.png"), generator.integers(0, 256, (6, 6, 3), np.uint8))
    (at / "list.txt").write_text("".join(f"{number}.png {number % 3}\n" for number in range(22)))
    for name, text in NETS.items():
        (at / f"{name}.prototxt").write_text(text)
    for name, (net, text) in RULES.items():
        (at / f"{name}_solver.prototxt").write_text(SOLVER % (net, text))
    for name in ("norm", "large"):
        (at / f"{name}_solver.prototxt").write_text(SOLVER % (name, "momentum: 0.9"))
    return at


def environment(size: int, rank: int, port: int) -> dict[str, str]:
    group = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_PORT": str(port), **group}


@pytest.fixture(scope="module", params=[2, 3])
def trained(request: pytest.FixtureRequest, folder: Path) -> tuple[int, Path]:
    """How many processes, and where the weights are that they have trained in each of the cases."""
    size, port = request.param, _free_port()
    cases: dict[str, dict[str, Any]] = {name: {"source": f"{name}_solver.prototxt"} for name in (*RULES, "norm")}
    cases["synchronized"] = {"source": "norm_solver.prototxt", "sync_bn": True}
    (folder / f"cases{size}.json").write_text(json.dumps(cases))
    command = [sys.executable, "-m", "tests.solver.rank_worker", f"cases{size}.json", f"result{size}"]
    processes = [
        subprocess.Popen(command, cwd=folder, env=environment(size, rank, port), stderr=subprocess.PIPE, text=True)
        for rank in range(size)
    ]
    for process in processes:
        _, log = process.communicate(timeout=240)
        assert process.returncode == 0, log[-3000:]
    return size, folder


def alone(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: int = 1) -> dict[str, Any]:
    """What one process makes of the batches of so many."""
    monkeypatch.chdir(folder)
    more = [f"clip_gradients={0.3 * size}"] if name == "clipped" else []
    return train({"source": f"{name}_solver.prototxt", "cards": size, "overrides": more}, ALONE)


def close(found: Any, wanted: dict[str, Any], tolerance: float) -> None:
    for name, value in wanted.items():
        assert np.abs(np.asarray(found[name]) - value).max() <= tolerance * max(1.0, np.abs(value).max()), name


@pytest.mark.parametrize("name", RULES)
def test_weights_scores_and_records_are_those_of_one_process(
    trained: tuple[int, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, folder = trained
    wanted = alone(folder, monkeypatch, name, size)
    with np.load(folder / f"result{size}_{name}.npz") as found:
        read, expected = found["labels"], wanted.pop("labels")
        ours = expected.reshape(-1, 4 * size)  # a pass of all processes at a time
        assert np.array_equal(read.reshape(-1, 4 * size), ours)
        close(found, wanted, 1e-5)


def test_statistics_are_those_of_the_first_process(trained: tuple[int, Path]) -> None:
    size, folder = trained
    found, other = (dict(np.load(folder / f"result{size}_{name}.npz")) for name in ("norm", "synchronized"))
    assert float(found["norm[2]"][0]) == pytest.approx(sum(0.999**k for k in range(20)))
    assert np.abs(other["norm[0]"] - found["norm[0]"]).max() > 1e-4  # those of its batches alone


def test_synchronized_statistics_are_those_of_the_joined_batch(
    trained: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    size, folder = trained
    if size != 2:
        return
    wanted = alone(folder, monkeypatch, "large")  # batches of 8
    del wanted["labels"]
    scores = [name for name in wanted if name.startswith("score")]  # of tests with other batches
    with np.load(folder / f"result{size}_synchronized.npz") as found:
        close(found, {name: value for name, value in wanted.items() if name not in scores}, 1e-5)


def start(folder: Path, *flags: str, processes: int = 2) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "caffecompat", "train", "--processes", str(processes), *flags]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)


def long_run(folder: Path, prefix: str, iterations: int) -> list[str]:
    settings = [f"max_iter={iterations}", "snapshot=50", f"snapshot_prefix={prefix}", "display=10",
                "snapshot_after_train=true", "test_interval=40"]  # fmt: skip
    return ["--solver", "images_solver.prototxt", *(f"--set={setting}" for setting in settings)]


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes of the group, by rank."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in found]


def weights(path: Path) -> list[np.ndarray]:
    return [blob.array() for layer in open_weights(path).layers for blob in layer.blobs if blob is not None]


def killed(folder: Path, prefix: str, victim: int) -> int:
    """Kill one of two processes in the middle of training; the iteration of the newest snapshot that the log names."""
    endless = start(folder, *long_run(folder, prefix, 10**6))
    wait_for(folder / f"{prefix}_iter_50.solverstate", endless)
    since = time.monotonic()
    os.kill(children(endless)[victim], signal.SIGKILL)
    _, log = endless.communicate(timeout=60)
    assert time.monotonic() - since < 30
    assert endless.returncode == 1
    assert f"process {victim} of 2 was killed by SIGKILL" in log
    assert log.count("error: ") == 2  # the other one's, too
    return max(int(number) for number in re.findall(rf"{prefix}_iter_(\d+)\.solverstate", log))


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_killed_process_ends_the_others_and_the_run_goes_on(folder: Path) -> None:
    done = killed(folder, "killed", 1)
    assert len(list(folder.glob("killed_iter_*.solverstate"))) == done // 50  # none after the failure
    goal = done + 60
    for flags in ([*long_run(folder, "killed", goal), "--resume", "auto"], long_run(folder, "whole", goal)):
        process = start(folder, *flags)
        _, log = process.communicate(timeout=120)
        assert process.returncode == 0, log[-2000:]
    again, whole = (weights(folder / f"{name}_iter_{goal}.caffemodel") for name in ("killed", "whole"))
    assert all(np.array_equal(one, other) for one, other in zip(again, whole, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_the_first_process_killed_ends_the_others(folder: Path) -> None:
    killed(folder, "headless", 0)


def test_ctrl_c_ends_all_with_a_snapshot(folder: Path) -> None:
    process = start(folder, *long_run(folder, "stopped", 10**6), processes=3)
    wait_for(folder / "stopped_iter_50.solverstate", process)
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log[-2000:]
    assert log.count("Stop requested") == log.count("Optimization stopped early") == 1


def test_an_error_of_one_process_is_everyones(folder: Path) -> None:
    text = (folder / "list.txt").read_text().splitlines()
    text[15] = "missing.png 0"  # of the second process
    (folder / "broken.txt").write_text("\n".join(text) + "\n")
    flags = long_run(folder, "broken", 10**6)
    process = start(folder, *flags, "--set=data.image_data_param.source=broken.txt",
                    "--set=data.image_data_param.shuffle=false")  # fmt: skip
    _, log = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "error: process 1 of 2 has ended" in log and log.count("missing.png") >= 2
    assert not list(folder.glob("broken_iter_*"))


def test_places_that_torchrun_and_srun_give() -> None:
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "29400"}
    assert place_of(torchrun) == Place(3, 4, 1, "a", 29400)
    srun = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "712345",
            "SLURM_JOB_NODELIST": "gpu[07-08]"}  # fmt: skip
    assert place_of(srun) == Place(5, 8, 1, "gpu07", 22345)
    assert place_of({}) is None and place_of({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}) is None
    for change in ({"RANK": "4"}, {"RANK": "x"}, {"MASTER_ADDR": ""}):
        with pytest.raises(CaffeCompatError, match=r"RANK|process 4"):
            place_of({**torchrun, **change})


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("a", "a"), ("a,b", "a"), ("n[3-5]", "n3"), ("n[03,5],x", "n03"), ("a,n[3-5]", "a"), ("n[1-2]-ib", "n1-ib")],
)
def test_the_first_of_a_list_of_nodes(nodes: str, first: str) -> None:
    assert nodes_first(nodes) == first


def test_another_number_of_processes_goes_on_from_the_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    process = start(folder, *long_run(folder, "two", 50))
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log[-2000:]
    solver = Solver("images_solver.prototxt", cards=2)
    solver.restore("two_iter_50.solverstate")
    torch.manual_seed(1)
    solver.step(20)
    one = [param.blob.detach().numpy().copy() for param in solver.net.params]
    process = start(folder, *long_run(folder, "two", 70), "--snapshot", "two_iter_50.solverstate")
    process.communicate(timeout=60)
    for ours, theirs in zip(one, weights(folder / "two_iter_70.caffemodel"), strict=True):
        assert np.abs(ours.flatten() - theirs.flatten()).max() < 1e-5
