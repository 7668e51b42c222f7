"""Images a second and the share of waiting, in the log and on the live line."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from caffecompat import Net
from caffecompat.cli.main import main
from caffecompat.data import Source
from caffecompat.report.log_parser import parse_lines
from caffecompat.schema import parse_text, pb
from caffecompat.solver.speed import Speed

NET = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: "gaussian" } data_filler { type: "constant" } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


class Slow(Source):
    """Five pictures that take 20 ms."""

    def __init__(self) -> None:
        self.top_shapes = [(5, 3), (5,)]

    def next(self) -> tuple[np.ndarray, ...]:
        time.sleep(0.02)
        return np.zeros((5, 3), np.float32), np.zeros(5, np.float32)


def test_waiting_and_pauses() -> None:
    """Half of the time is waited; what is paused does not count, nor a pause within it twice."""
    net = Net(parse_text(NET, pb.NetParameter()), "TRAIN", sources=lambda *_: Slow(), log=False)
    speed = Speed(net, batches=3)
    assert speed.describe(0) == ""
    speed.begin(7)
    for _ in range(6):
        net.next_batch()
        time.sleep(0.02)
        with speed.paused():
            time.sleep(0.1)
            with speed.paused():
                time.sleep(0.01)
    images, share = speed.describe(9).split(" images/s, ")
    assert (
        60 < float(images) <= 2 * 3 * 5 / 0.24
    )  # two iterations of three batches in 0.24 s, or more on a busy machine
    assert 30 <= int(share.split("%")[0]) <= 60 and share.endswith("% of the time waiting for data")
    speed.begin(9)
    assert speed.describe(9) == ""


def test_at_each_display_and_on_the_live_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 30 display: 10 '
        f'snapshot_prefix: "{tmp_path}/n" solver_mode: CPU'
    )
    train = ["train", "--solver", str(tmp_path / "solver.prototxt"), "--progress"]
    assert main([*train, "never"]) == 0
    said = capfd.readouterr().err.splitlines()
    assert sum("images/s, " in line for line in said) == 2  # at iterations 10 and 20; at 0 nothing was done yet
    log = parse_lines(said)
    assert [row.iteration for row in log.train] == [0, 10, 20, 30]
    assert set(log.train[1].values) == {"loss"} and log.train[1].speed > 0
    assert main([*train, "always"]) == 0
    assert re.search(r"loss \d\S+, \d\S* images/s, \d+% waiting", capfd.readouterr().err)
