"""Several processes that train one net are one process that takes all their batches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from caffecompat import Solver
from caffecompat.cli.common.processes import _free_port
from caffecompat.solver.ranks import ALONE
from tests.solver.rank_runs import ARGUMENTS, RULES, environment, long_run, start, weights
from tests.solver.rank_worker import train


@pytest.fixture(scope="module", params=[2, 3])
def trained(request: pytest.FixtureRequest, rank_files: Path) -> tuple[int, Path]:
    """How many processes, and where the weights are that they have trained in each of the cases."""
    size, port, folder = request.param, _free_port(), rank_files
    names = (*RULES, "norm", "written", "own")
    cases = {name: {"source": f"{name}_solver.prototxt", **ARGUMENTS.get(name, {})} for name in names}
    cases["averaged"]["overrides"].append(f"snapshot_prefix=of{size}")
    cases["synchronized"] = {"source": "norm_solver.prototxt", "sync_bn": True}
    cases["around"] = {"source": "around_solver.prototxt", "sync_bn": True}
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
    arguments = {**ARGUMENTS.get(name, {})}
    more = [f"clip_gradients={0.3 * size}"] if name == "clipped" else ["snapshot_prefix=one"]
    arguments["overrides"] = [*arguments.get("overrides", ()), *more]
    return train({"source": f"{name}_solver.prototxt", "cards": size, **arguments}, ALONE)


def close(found: Any, wanted: dict[str, Any], tolerance: float) -> None:
    for name, value in wanted.items():
        assert np.abs(np.asarray(found[name]) - value).max() <= tolerance * max(1.0, np.abs(value).max()), name


@pytest.mark.parametrize("name", RULES)
def test_weights_scores_and_records_are_those_of_one_process(
    trained: tuple[int, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, folder = trained
    wanted = alone(folder, monkeypatch, name, size)
    del wanted["seeds"]
    with np.load(folder / f"result{size}_{name}.npz") as found:
        read, expected = found["labels"], wanted.pop("labels")
        ours = expected.reshape(-1, 4 * size)  # a pass of all processes at a time
        assert np.array_equal(read.reshape(-1, 4 * size), ours)
        # Batches of other records round otherwise, in 16 bits visibly.
        close(found, wanted, 0.02 if name == "half" else 1e-5)
        assert len(set(found["seeds"].tolist())) == size  # dropout draws other numbers in each
    if name == "plateau":
        assert wanted["rate steps"] > 0
    if name == "scaled":
        assert wanted["scale"] < 65536  # some updates were skipped, in all processes
    if name == "averaged":
        best = [weights(folder / f"{prefix}_best.caffemodel") for prefix in (f"of{size}", "one")]
        assert all(np.abs(a - b).max() <= 1e-5 for a, b in zip(*best, strict=True))


def test_each_one_reads_a_source_of_its_own(trained: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    size, folder = trained
    with h5py.File(folder / "data.h5") as file:
        labels = file["label"][:]
    with np.load(folder / f"result{size}_own.npz") as found:
        for rank in range(size):
            read = found["labels"].reshape(-1, size)[:, rank]
            assert np.array_equal(read, np.resize(labels[rank::size], len(read)))
        if size == 2:  # two halves of 22 records come to their ends together
            wanted = alone(folder, monkeypatch, "sgd", size)
            close(found, {key: value for key, value in wanted.items() if "[" in key or key == "loss"}, 1e-5)


def test_files_of_a_training_net_have_the_first_ones_batches(trained: tuple[int, Path]) -> None:
    size, folder = trained
    with np.load(folder / f"result{size}_written.npz") as found, h5py.File(folder / "written.h5") as file:
        assert np.array_equal(file["label"][:].flatten(), found["labels"].reshape(-1, size)[:, 0])


def test_statistics_are_those_of_the_first_process(trained: tuple[int, Path]) -> None:
    size, folder = trained
    found, other = (dict(np.load(folder / f"result{size}_{name}.npz")) for name in ("norm", "synchronized"))
    assert float(found["norm[2]"][0]) == pytest.approx(sum(0.999**k for k in range(20)))
    assert np.abs(other["norm[0]"] - found["norm[0]"]).max() > 1e-4  # those of its batches alone


@pytest.mark.parametrize(("name", "joined"), [("synchronized", "large"), ("around", "large_around")])
def test_synchronized_statistics_are_those_of_the_joined_batch(
    trained: tuple[int, Path], name: str, joined: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, folder = trained
    if size != 2:
        return
    wanted = alone(folder, monkeypatch, joined)  # batches of 8
    with np.load(folder / f"result{size}_{name}.npz") as found:
        # Tests have other batches.
        close(found, {key: value for key, value in wanted.items() if "[" in key or key == "loss"}, 1e-5)


def test_another_number_of_processes_goes_on_from_the_place(rank_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(rank_files)
    process = start(rank_files, *long_run(rank_files, "two", 50), "--log-records", "records")
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log[-2000:]
    read = [(rank_files / f"records.{rank}").read_text().splitlines() for rank in range(2)]
    assert [len(lines) for lines in read] == [204, 204] and len({*read[0][:8], *read[1][:8]}) == 16
    solver = Solver("images_solver.prototxt", cards=2)
    solver.restore("two_iter_50.solverstate")
    torch.manual_seed(1)
    solver.step(20)
    one = [param.blob.detach().numpy().copy() for param in solver.net.params]
    process = start(rank_files, *long_run(rank_files, "two", 70), "--snapshot", "two_iter_50.solverstate")
    process.communicate(timeout=60)
    for ours, theirs in zip(one, weights(rank_files / "two_iter_70.caffemodel"), strict=True):
        assert np.abs(ours.flatten() - theirs.flatten()).max() < 1e-5
