"""What a run prints is read back by the parser of training logs; `ignore_shape_mismatch` of fine-tuning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat import glog
from caffecompat.net import WeightsMismatch
from caffecompat.report.log_parser import parse_lines
from caffecompat.solver import Solver


def _logged(*settings: str) -> tuple[Solver, list[str]]:
    lines: list[str] = []
    glog.set_sink(lines.append)
    try:
        solver = Solver("solver.prototxt", overrides=settings)
        solver.train()
    finally:
        glog.set_sink(None)
    return solver, lines


def test_own_log_gives_the_table_that_was_computed(workdir: Path) -> None:
    solver, lines = _logged("max_iter=20", "lr_policy=step", "gamma=0.5", "stepsize=10", "average_loss=3")
    log = parse_lines(lines)
    assert [row.iteration for row in log.train] == [0, 5, 10, 15, 20]
    assert [row.rate for row in log.train] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.05])
    assert all(row.values["loss"] > 0 for row in log.train[:-1])
    assert [row.iteration for row in log.test] == [0, 5, 10, 15, 20]
    assert set(log.test[-1].values) == {"accuracy", "loss"}
    glog.set_sink(lambda line: None)
    try:
        scores = solver.test(0)
    finally:
        glog.set_sink(None)
    assert scores is not None
    # Each test is over other 8 of the 12 items.
    assert log.test[-1].values["accuracy"] == pytest.approx(scores["accuracy"][0], abs=0.26)
    assert log.losses == {"loss"}


def _net_with_outputs(workdir: Path, outputs: int) -> None:
    net = (workdir / "net.prototxt").read_text()
    (workdir / "net.prototxt").write_text(net.replace("num_output: 3", f"num_output: {outputs}"))


@pytest.mark.parametrize("stated", ["", "ignore_shape_mismatch: false"])
def test_other_shapes_are_an_error(workdir: Path, stated: str) -> None:
    Solver("solver.prototxt").net.save("three.caffemodel")
    _net_with_outputs(workdir, 5)
    (workdir / "solver.prototxt").write_text((workdir / "solver.prototxt").read_text() + stated)
    with pytest.raises(WeightsMismatch, match=r"layer 'ip' blob 0: the file has \(3, 3\), the net \(5, 3\)"):
        Solver("solver.prototxt").load_weights("three.caffemodel")


def test_ignore_shape_mismatch_leaves_such_layers_as_they_are(workdir: Path) -> None:
    net = workdir / "net.prototxt"
    other = 'layer { name: "other" type: "InnerProduct" bottom: "data" top: "x" inner_product_param { num_output:2 } }'
    net.write_text(f"{net.read_text()} {other}")
    Solver("solver.prototxt").net.save("three.caffemodel")
    _net_with_outputs(workdir, 5)
    (workdir / "solver.prototxt").write_text((workdir / "solver.prototxt").read_text() + "ignore_shape_mismatch: true")
    solver = Solver("solver.prototxt")
    before = solver.net.blobs_by_layer()["ip"][0].copy()
    lines: list[str] = []
    glog.set_sink(lines.append)
    try:
        solver.load_weights("three.caffemodel")
    finally:
        glog.set_sink(None)
    assert np.array_equal(solver.net.blobs_by_layer()["ip"][0], before)
    assert any("layer 'ip' blob 0: the file has (3, 3), the net (5, 3)" in line for line in lines)
    solver.step(1)
