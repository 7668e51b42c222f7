"""A run that was stopped and resumed is the run that was not: every loss and weight bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from tests.solver.recorded_runs import HEAD, LMDB, NETS, SCALE, SOLVER, Run, among, data, somewhere_else


def check_exact(net: str, solver: str = "", at: Sequence[int] = (1, 5, 8), seed: str = "random_seed: 3 ") -> None:
    """Resumed after any of these iterations, a run goes on as if it had not been stopped."""
    straight = Run(net, seed + solver)
    straight.solver.train()
    straight.close()
    ending = ".h5" if "HDF5" in solver.split() else ""
    for iteration in at:
        somewhere_else()
        resumed = Run(net, seed + solver)
        resumed.solver.train(f"s_iter_{iteration}.solverstate{ending}")
        resumed.close()
        assert resumed.seen == {k: v for k, v in straight.seen.items() if k > iteration}
        assert resumed.scores == {k: v for k, v in straight.scores.items() if k >= iteration}


@pytest.mark.parametrize("name", NETS)
def test_every_source_and_every_layer_that_draws_or_remembers(run_folder: Path, name: str, log: list[str]) -> None:
    check_exact(NETS[name])
    assert sum("data and random numbers go on where they were" in line for line in log) == 3
    assert not any(".resume: " in line and "go on" not in line for line in log)


@pytest.mark.parametrize("name", ["list-chance", "dropout", "tests"])
def test_runs_without_a_seed(run_folder: Path, name: str) -> None:
    check_exact(NETS[name], seed="")


RULES = {
    "adam": 'type: "Adam" momentum2: 0.999',
    "nesterov": 'type: "Nesterov"',
    "adadelta": 'type: "AdaDelta" delta: 1e-6',
    "hdf5": "snapshot_format: HDF5 average_loss: 4",
    "average": "average_loss: 5",
    "iter_size": "iter_size: 3 average_loss: 2",
    "multistep": 'lr_policy: "multistep" gamma: 0.5 stepvalue: 3 stepvalue: 4 stepvalue: 9',
    "plateau": 'lr_policy: "plateau" gamma: 0.5 plateau_winsize: 2 plateau_winsize: 1 average_loss: 3',
    "display": "display: 3 average_loss: 3",
}


@pytest.mark.parametrize("rule", RULES)
def test_every_kind_of_rule_and_policy(run_folder: Path, rule: str) -> None:
    check_exact(NETS["list-chance"], RULES[rule])


def test_sparse_training(run_folder: Path) -> None:
    net = data(LMDB, extra=SCALE) + among(
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "last" convolution_param { num_output: 32 '
        'kernel_size: 3 weight_filler { type: "xavier" } } }'
    )
    check_exact(
        net,
        "sparse_mode: SPARSE_UPDATE sparsity_target: 0.9 sparsity_start_iter: 2 sparsity_step_iter: 3 "
        "sparsity_start_factor: 0.2 sparsity_step_factor: 0.1 sparsity_threshold_maxratio: 0.9 "
        "sparsity_threshold_value_max: 0.9",
        at=(1, 4, 9),
    )


def test_a_longer_run_goes_on_from_the_end_of_a_shorter_one(run_folder: Path) -> None:
    """Its last display and test come after its last snapshot."""
    net, solver = NETS["tests"], "random_seed: 3 average_loss: 4 display: 2 snapshot: 0 "
    straight = Run(net, solver)
    straight.solver.train()
    straight.close()
    short = Run(net, solver)
    short.solver.param.max_iter = 6
    short.solver.train()
    short.close()
    resumed = Run(net, solver)
    resumed.solver.train("s_iter_6.solverstate")
    resumed.close()
    assert resumed.seen == {k: v for k, v in straight.seen.items() if k > 6}


def test_steps_of_a_script(run_folder: Path) -> None:
    """Each step() averages losses of its own; a snapshot within one goes on with those, one between two does not."""
    net, solver = NETS["dropout"], "random_seed: 3 average_loss: 4 snapshot: 3 "
    straight = Run(net, solver)
    straight.solver.step(5)
    between = straight.solver.snapshot()
    straight.solver.step(4)
    straight.close()
    for state, first in (("s_iter_3.solverstate", 2), (between, 4)):
        somewhere_else()
        resumed = Run(net, solver)
        resumed.solver.restore(state)
        resumed.solver.step(first)
        if first == 2:
            resumed.solver.step(4)
        resumed.close()
        assert resumed.seen == {k: v for k, v in straight.seen.items() if k in resumed.seen}
        assert len(resumed.seen) == (6 if first == 2 else 4)
    back = Run(net, solver)  # and the same object goes back
    back.solver.step(9)
    back.solver.restore("s_iter_3.solverstate")
    back.solver.step(2)
    assert back.seen[5] == straight.seen[5]
    back.close()


@pytest.mark.parametrize("first", ["arrays", "restore"])
def test_pycaffe_and_its_arrays(run_folder: Path, first: str) -> None:
    """A script gives MemoryData its arrays before or after it restores a state."""
    Path("net.prototxt").write_text(
        'layer { name: "d" type: "MemoryData" top: "data" top: "label" memory_data_param { batch_size: 2 channels: 1 '
        "height: 1 width: 5 } }" + HEAD
    )
    Path("solver.prototxt").write_text(SOLVER + 'lr_policy: "fixed" random_seed: 3')
    numbers = np.random.default_rng(2)
    arrays = numbers.standard_normal((6, 1, 1, 5)).astype("f4"), np.arange(6, dtype="f4")

    def solver() -> caffe.SGDSolver:
        return caffe.SGDSolver("solver.prototxt")

    straight = solver()
    straight.net.set_input_arrays(*arrays)
    straight.step(4)
    straight.snapshot()
    straight.step(4)
    resumed, like_caffe = solver(), solver()
    for each, way in ((resumed, {}), (like_caffe, {"like_caffe": True})):
        if first == "arrays":
            each.net.set_input_arrays(*arrays)
        each.restore("s_iter_4.solverstate", **way)
        if first == "restore":
            each.net.set_input_arrays(*arrays)
        each.step(4)
    expected = straight.net.params["ip"][0].data
    np.testing.assert_array_equal(resumed.net.params["ip"][0].data, expected)
    assert not np.array_equal(like_caffe.net.params["ip"][0].data, expected)


def test_in_another_process(run_folder: Path) -> None:
    """By the command: a run, killed, goes on by --resume auto."""
    Run(NETS["list-chance"], "random_seed: 3 display: 1 average_loss: 3 ").close()
    command = [sys.executable, "-m", "caffecompat", "train", "--solver", "solver.prototxt"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}

    def losses(*flags: str) -> list[str]:
        done = subprocess.run([*command, *flags], env=environment, capture_output=True, text=True, check=True)
        lines = [line.split("] ")[1] for line in done.stderr.splitlines() if "loss = " in line]
        return [line.split(" (")[0] + line.split(",")[-1] for line in lines if line.startswith("Iteration")]

    whole = losses()
    for path in Path().glob("s_iter_*"):
        if int(path.name.split("_")[2].split(".")[0]) > 7:
            path.unlink()
    assert losses("--resume", "auto") == whole[7:]
