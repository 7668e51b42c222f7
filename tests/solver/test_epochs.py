"""Epochs: counted of the data that is there, and said beside iterations."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffecompat.cli.main import main
from caffecompat.errors import CaffeCompatError
from caffecompat.report.log_parser import parse_lines
from caffecompat.solver import Solver
from caffecompat.solver.epochs import Epochs, last_epoch_points


@pytest.mark.parametrize(
    ("records", "batch", "passes", "epochs", "iterations"),
    [
        (12, 4, 1, 1, 3),
        (12, 4, 2, 1, 2),  # 8 images an iteration: the second one goes over the end
        (13, 4, 1, 1, 4),
        (60000, 64, 1, 10, 9375),
        (60000, 128, 2, 0.5, 118),
        (30, 1, 1, 0.1, 3),
        (1, 64, 4, 1, 1),
    ],
)
def test_iterations_of_epochs(records: int, batch: int, passes: int, epochs: float, iterations: int) -> None:
    found = Epochs(records, batch, passes)
    assert found.iterations(epochs) == iterations
    assert found.after(iterations) == pytest.approx(iterations * batch * passes / records)
    assert found.after(iterations) >= epochs > found.after(iterations - 1)


@pytest.mark.parametrize(
    ("settings", "cards", "iterations"),
    [([], 1, 6), (["iter_size=2"], 1, 3), ([], 3, 2), (["data.hdf5_data_param.batch_size=5"], 1, 5)],
)
def test_they_decide_max_iter(workdir: Path, log: list[str], settings: list[str], cards: int, iterations: int) -> None:
    """12 records, twice."""
    solver = Solver("solver.prototxt", overrides=settings, epochs=2, cards=cards)
    assert solver.param.max_iter == iterations
    solver.train()
    assert solver.iter == iterations


@pytest.mark.parametrize("policy", ["poly", "cosine"])
def test_policies_that_need_max_iter_have_it(workdir: Path, log: list[str], policy: str) -> None:
    text = (workdir / "solver.prototxt").read_text()
    text = text.replace("max_iter: 10 ", "").replace('lr_policy: "fixed"', f'lr_policy: "{policy}" power: 1')
    (workdir / "solver.prototxt").write_text(text)
    with pytest.raises(CaffeCompatError, match="needs max_iter"):
        Solver("solver.prototxt")
    assert Solver("solver.prototxt", epochs=3).param.max_iter == 9
    with pytest.raises(CaffeCompatError, match=r"--set warmup_iter=9: .*must be less than|warmup_iter 9 must be less"):
        Solver("solver.prototxt", epochs=3, overrides=["lr_policy=cos", "warmup_iter=9"])


def test_settings_are_still_checked(workdir: Path, log: list[str]) -> None:
    for setting in ("lr_policy=x", "iter_size=0"):
        with pytest.raises(CaffeCompatError, match=f"--set {setting}"):
            Solver("solver.prototxt", epochs=3, overrides=[setting])


def test_files_of_hdf5_add_up(workdir: Path, log: list[str]) -> None:
    with h5py.File(workdir / "more.h5", "w") as file:
        file["data"], file["label"] = np.zeros((5, 3), "f4"), np.zeros(5, "f4")
    (workdir / "data.txt").write_text("data.h5\nmore.h5\n")
    assert Solver("solver.prototxt").epochs == Epochs(17, 4, 1)


def test_lines_of_the_log(workdir: Path, log: list[str]) -> None:
    Solver("solver.prototxt", overrides=["iter_size=2"]).train()
    whole = "Training data: 12 images, 8 an iteration (batch 4 x 2 passes); 10 iterations are 6.667 epochs"
    assert whole in log
    assert [line.strip() for line in log if line.startswith("    Epoch")] == [
        "Epoch 0 of 6.667",
        "Epoch 3.333 of 6.667",
    ]
    place = log.index("    Epoch 3.333 of 6.667")
    around = [log[place - 1], *log[place + 1 : place + 3]]
    begins = ["    Train net output #0: loss", "    ", "Iteration 5, lr ="]
    assert all(line.startswith(begin) for line, begin in zip(around, begins, strict=True))
    assert "images/s" in around[1]
    rows = parse_lines(["I1128 12:00:00.000000  1 solver.cpp:1] " + line for line in log]).train
    assert [row.iteration for row in rows] == [0, 5, 10]


def test_the_command(workdir: Path, log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--solver", "solver.prototxt", "--epochs", "2.5", "--dry-run"]) == 0
    assert "data         12 images, 4 an iteration; 8 iterations are 2.667 epochs" in capsys.readouterr().out
    assert main(["train", "--solver", "solver.prototxt", "--epochs", "1"]) == 0
    assert (workdir / "snap_iter_3.solverstate").exists()
    # more epochs later: the run goes on
    assert main(["train", "--solver", "solver.prototxt", "--epochs", "2", "--resume", "auto"]) == 0
    assert (workdir / "snap_iter_6.solverstate").exists()


@pytest.mark.parametrize("flags", [["--epochs", "0"], ["--epochs", "nan"], ["--epochs", "x"],
                                   ["--epochs", "2", "--set", "max_iter=3"]])  # fmt: skip
def test_flags_that_cannot_be(workdir: Path, log: list[str], flags: list[str]) -> None:
    assert main(["train", "--solver", "solver.prototxt", *flags]) == 2
    assert not list(workdir.glob("snap*"))


def test_data_without_an_end(workdir: Path, log: list[str]) -> None:
    net = workdir / "net.prototxt"
    layers = net.read_text().split("\n")
    layers[2] = """layer { name: "noise" type: "DummyData" top: "data" top: "label" dummy_data_param {
        shape { dim: 4 dim: 3 } shape { dim: 4 } } }"""
    net.write_text("\n".join(layers))
    solver = Solver("solver.prototxt")
    assert solver.epochs is None
    solver.train()
    assert not [line for line in log if "poch" in line]
    with pytest.raises(CaffeCompatError, match=r"'noise' \(DummyData\) has no end that is known; give max_iter"):
        Solver("solver.prototxt", epochs=1)


def test_too_many(workdir: Path, log: list[str]) -> None:
    with pytest.raises(CaffeCompatError, match="a solver does at most 2147483647"):
        Solver("solver.prototxt", epochs=1e12)


def _as_nvcaffe_loops(count: int, max_iter: int, records: int, images: int) -> list[int]:
    """Its Solver::Step from iteration 0, where the epochs passed are those of the iteration before."""
    left, passed, epochs, found = count - 1, 0.0, 0.0, []
    for iteration in range(max_iter):
        if iteration + 1 == max_iter or (epochs > 0 and passed + left > epochs):
            left -= 1
            found.append(iteration)
        epochs, passed = max_iter * images / records, iteration * images / records
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
@pytest.mark.parametrize(
    ("max_iter", "records", "images"), [(40, 32, 4), (41, 30, 4), (12, 8, 6), (3, 100, 4), (1, 9, 3)]
)
def test_the_points_of_the_last_epochs(count: int, max_iter: int, records: int, images: int) -> None:
    found = last_epoch_points(count, max_iter, Epochs(records, images, 1))
    assert sorted(found) == _as_nvcaffe_loops(count, max_iter, records, images)


def test_last_epochs_of_unknown_data() -> None:
    assert last_epoch_points(3, 10, None) == {9}
    assert last_epoch_points(0, 10, None) == last_epoch_points(2, 0, None) == frozenset()


@pytest.mark.parametrize("resume", [False, True])
def test_tests_and_snapshots_of_the_last_epochs(workdir: Path, log: list[str], resume: bool) -> None:
    """12 records, 4 an iteration, 10 iterations: 3.33 epochs, of which 1.33 are first done after iteration 5."""
    settings = ["test_and_snapshot_last_epochs=3", "test_interval=100", "test_initialization=false", "snapshot=3"]
    if resume:
        Solver("solver.prototxt", overrides=[*settings, "test_and_snapshot_last_epochs=0", "max_iter=6"]).train()
        Solver("solver.prototxt", overrides=settings).train("snap_iter_6.solverstate")
    else:
        Solver("solver.prototxt", overrides=settings).train()
    points = [line for line in log if "Testing net" in line]
    assert points == ["Iteration 6, Testing net (#0)", "Iteration 9, Testing net (#0)"]
    tested = [float(line.rpartition(" = ")[2].split()[0]) for line in log if "Test net output" in line]
    found = sorted(path.name for path in workdir.glob("snap_iter_*_score0_*.caffemodel"))
    assert found == sorted(
        f"snap_iter_{iteration}_score0_{tested[2 * at]:g}_score1_{tested[2 * at + 1]:g}.caffemodel"
        for at, iteration in enumerate((7, 10))
    )
    assert len(list(workdir.glob("snap_iter_*_score0_*.solverstate"))) == 2


def test_last_epochs_need_tests(workdir: Path, log: list[str]) -> None:
    text = (workdir / "solver.prototxt").read_text()
    text = re.sub("test_interval: [0-9]+", "", text)
    (workdir / "solver.prototxt").write_text(text + "\ntest_and_snapshot_last_epochs: 2")
    with pytest.raises(CaffeCompatError, match=r"solver.prototxt:\d+:1: test_and_snapshot_last_epochs needs tests"):
        Solver("solver.prototxt")
