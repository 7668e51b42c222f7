"""How a run ends that does not end well: with a snapshot, and with a word of what it holds."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.formats import open_caffemodel
from caffecompat.solver import Solver


def _solver(*overrides: str) -> Solver:
    return Solver("solver.prototxt", overrides=["snapshot=0", "max_iter=20", "display=0", *overrides])


def _fail_in_test(solver: Solver, at: int) -> None:
    net = solver.test_nets[0]
    forward = net.forward

    def failing(*inputs: object) -> object:
        if solver.iter >= at:
            raise CaffeCompatError("a picture of the test set is damaged")
        return forward(*inputs)

    net.forward = failing  # type: ignore[method-assign,assignment]


def test_an_error_in_a_test_phase_comes_after_a_snapshot(workdir: Path, log: list[str]) -> None:
    solver = _solver()
    _fail_in_test(solver, 10)
    with pytest.raises(CaffeCompatError, match="a picture of the test set is damaged"):
        solver.train()
    assert solver.iter == 10
    stored = next(layer for layer in open_caffemodel("snap_iter_10.caffemodel").layers if layer.name == "ip")
    assert stored.blobs[0] is not None
    assert np.array_equal(stored.blobs[0].array().ravel(), solver.net.blobs_by_layer()["ip"][0].ravel())
    resumed = Solver("solver.prototxt", overrides=["max_iter=20"])
    resumed.train("snap_iter_10.solverstate")
    assert resumed.iter == 20
    assert sum("An error ends the run at iteration 10" in line for line in log) == 1


@pytest.mark.parametrize(
    "error", [RuntimeError("of torch"), ValueError("of a Python layer"), OSError("disk"), SystemExit(3)]
)
def test_any_error_of_a_forward_pass(workdir: Path, log: list[str], error: BaseException) -> None:
    solver = _solver("test_interval=100")
    one_pass = solver.passes.one

    def failing() -> object:
        if solver.iter == 7:
            raise error
        return one_pass()

    solver.passes.one = failing  # type: ignore[method-assign,assignment]
    with pytest.raises(type(error)) as raised:
        solver.train()
    assert raised.value.__dict__["status"] == 1  # of the command
    assert (workdir / "snap_iter_7.solverstate").exists()


@pytest.mark.parametrize(
    ("overrides", "at", "said"),
    [
        ((), 0, "iteration 0; nothing was learned that a snapshot could hold"),
        (("snapshot=5",), 5, "iteration 5; the newest snapshot is of iteration 5"),
        (("snapshot_after_train=false",), 10, "iteration 10; it leaves no snapshot, as snapshot is 0 and"),
    ],
    ids=["nothing learned", "just stored", "not wanted"],
)
def test_no_snapshot_without_need(
    workdir: Path, log: list[str], overrides: tuple[str, ...], at: int, said: str
) -> None:
    solver = _solver(*overrides)
    _fail_in_test(solver, at)
    with pytest.raises(CaffeCompatError, match="damaged"):
        solver.train()
    assert sum("Snapshotting to" in line for line in log) == len(list(workdir.glob("*.caffemodel"))) <= 1
    assert sum(f"An error ends the run at {said}" in line for line in log) == 1


def test_an_error_in_the_middle_of_an_update(workdir: Path, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    solver = _solver("test_interval=100")
    apply = solver.updater.apply

    def failing(rate: float, iteration: int, passes: int) -> None:
        if iteration == 7:
            raise RuntimeError("of torch")
        apply(rate, iteration, passes)

    monkeypatch.setattr(solver.updater, "apply", failing)
    with pytest.raises(RuntimeError, match="of torch"):
        solver.train()
    assert (workdir / "snap_iter_7.solverstate").exists()
    assert any("in the middle of an update" in line for line in log)


def test_a_full_disk_does_not_hide_the_error(workdir: Path, log: list[str]) -> None:
    solver = _solver()
    _fail_in_test(solver, 10)
    solver.observers.append(lambda s: (workdir / "snap_iter_10.caffemodel").mkdir() if s.iter == 9 else None)
    with pytest.raises(CaffeCompatError, match="damaged"):
        solver.train()
    assert any("Snapshot failed: snap_iter_10.caffemodel" in line for line in log)


def test_a_picture_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(30):
        cv2.imwrite(f"{i}.png", np.zeros((4, 4, 3), np.uint8))
    Path("list.txt").write_text("".join(f"{i}.png 0\n" for i in range(30)))
    Path("25.png").write_bytes(b"not a picture")
    Path("net.prototxt").write_text("""
layer { name: "d" type: "ImageData" top: "d" top: "l" image_data_param { source: "list.txt" batch_size: 1 } }
layer { name: "ip" type: "InnerProduct" bottom: "d" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "l" top: "loss" }
""")
    text = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 40 snapshot_prefix: "s"'
    Path("solver.prototxt").write_text(text)
    with pytest.raises(CaffeCompatError, match=r"25\.png"):
        Solver("solver.prototxt").train()
    assert Path("s_iter_25.solverstate").exists()


def _warned(log: list[str]) -> list[str]:
    return [line for line in log if re.search(r"NaN or infinity|the loss is", line)]


def test_a_loss_that_is_no_number_is_said_once(workdir: Path, log: list[str]) -> None:
    solver = _solver("display=1", "test_interval=100", "snapshot=4", "max_iter=9")
    (workdir / "snap_iter_8.caffemodel").write_bytes(b"of an earlier run")

    def break_it(s: Solver) -> None:
        if s.iter == 5:
            s.net.params[0].blob.data.fill_(float("nan"))

    solver.observers.append(break_it)
    solver.train()
    said = _warned(log)
    assert len(said) == 3  # a display, and the snapshots 8 and 9
    assert said[0].startswith("Iteration 5: the loss is nan, and the weights of layer 'ip' hold NaN or infinity; ")
    assert all("the last snapshot with finite weights is snap_iter_4.caffemodel" in line for line in said)
    assert "snap_iter_8.caffemodel holds NaN or infinity, first in layer 'ip'; it replaces the file" in said[1]
    assert "replaces" not in said[2]


def test_a_loss_that_recovers_and_data_that_hold_nan(workdir: Path, log: list[str]) -> None:
    solver = _solver("display=1", "test_interval=100", "base_lr=0", "snapshot_after_train=false")
    one_pass = solver.passes.one

    def sometimes() -> object:
        loss, tops = one_pass()
        return (loss * float("inf") if solver.iter in (2, 3, 6) else loss), tops

    solver.passes.one = sometimes  # type: ignore[method-assign,assignment]
    solver.train()
    said = _warned(log)
    assert [line.split(":")[0] for line in said] == ["Iteration 2", "Iteration 6"]
    assert "the loss is inf; training has diverged, or the data holds such values" in said[0]
    assert "this run has no snapshot with finite weights" in said[0]


@pytest.mark.parametrize(("classes", "lines"), [(500, 1000), (501, 1)])
def test_large_outputs_are_summed_up(workdir: Path, log: list[str], classes: int, lines: int) -> None:
    net = workdir / "net.prototxt"
    text = net.read_text()
    net.write_text(f"""{text}
layer {{ name: "big" type: "DummyData" top: "big" dummy_data_param {{ shape {{ dim: 2 dim: {classes} }}
  data_filler {{ type: "uniform" min: 1 max: 3 }} }} }}""")
    solver = _solver("max_iter=1", "display=1", "snapshot_after_train=false")
    solver.train()
    for kind in ("Train", "Test"):
        found = [line for line in log if re.search(rf"{kind} net output #\d+: big = ", line)]
        assert len(found) == lines
        if lines == 1:
            number = r"[\d.]+"
            match = re.search(
                rf"big = ({number}) \(the mean of 1002 values, minimum ({number}), maximum ({number}); "
                "a Silence layer on 'big' keeps it out of the log",
                found[0],
            )
            assert match
            mean, low, high = map(float, match.groups())
            assert 1 <= low < 1.1 < mean < 2.9 < high <= 3


@pytest.mark.parametrize(
    ("name", "overrides", "told"),
    [
        ("snap_iter_10.caffemodel", [], True),
        ("./snap_iter_5.caffemodel", [], True),
        ("snap_iter_10.caffemodel", ["max_iter=9"], False),
        ("snap_iter_7.caffemodel", [], False),
        ("snap_iter_10.caffemodel", ["snapshot_prefix=other"], False),
        ("snap_iter_10.caffemodel", ["snapshot=0"], True),
        ("snap_iter_10.caffemodel", ["snapshot=0", "snapshot_after_train=false"], False),
    ],
)
def test_weights_that_a_snapshot_will_replace(
    workdir: Path, log: list[str], name: str, overrides: list[str], told: bool
) -> None:
    Solver("solver.prototxt").net.save(name)
    Solver("solver.prototxt", overrides=overrides).load_weights(name)
    assert any(f"will replace {name}, which this run starts from" in line for line in log) == told
