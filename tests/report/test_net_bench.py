"""What networks cost, side by side, and the verb that prints it."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat import CaffeCompatError, bench_nets
from caffecompat.report.net_bench import NetCost, plot_costs

NET = """
name: "%s"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 16 dim: 12 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: %d kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two nets, a/deploy.prototxt with 8 and b/deploy.prototxt with 256 channels, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name, outputs in (("a", 8), ("b", 256)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "deploy.prototxt").write_text(NET % (name, outputs))
    return tmp_path


def test_counts_and_times(nets: Path) -> None:
    rounds: list[int] = []
    small, large = bench_nets(
        {"small": "a/deploy.prototxt", "large": "b/deploy.prototxt"}, size=(32, 40), batch=3, rounds=3,
        scores={"small": 0.5}, on_round=rounds.append,
    )  # fmt: skip
    assert rounds == [1, 2, 3]
    assert small.inputs == {"data": (3, 3, 32, 40)} and small.score == 0.5 and large.score is None
    assert small.parameters == 8 * 27 + 8  # without the three blobs of statistics
    assert large.macs == 256 * 27 * 32 * 40
    assert small.peak_bytes >= 4 * 3 * 32 * 40 * (3 + 8) and large.peak_bytes > 10 * small.peak_bytes
    assert large.milliseconds > small.milliseconds > 0
    assert small.images_per_second == pytest.approx(3000 / small.milliseconds)


def test_a_net_that_trains_is_measured_as_deployed(nets: Path) -> None:
    text = Path("a/deploy.prototxt").read_text()
    head = text[text.index('layer { name: "conv"') :]
    data = 'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "nowhere" batch_size: 64 } }'
    loss = 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "bn" bottom: "label" top: "l" }'
    Path("train_val.prototxt").write_text(data + head + loss)
    (cost,) = bench_nets({"net": "train_val.prototxt"}, size=(16, 12), rounds=1)
    assert cost.inputs == {"data": (1, 3, 16, 12)} and cost.macs == 8 * 27 * 16 * 12


def test_what_cannot_be(nets: Path) -> None:
    with pytest.raises(CaffeCompatError, match="a score is given for c, but the models are: a"):
        bench_nets({"a": "a/deploy.prototxt"}, scores={"c": 1.0})
    with pytest.raises(CaffeCompatError, match="rounds 0"):
        bench_nets({"a": "a/deploy.prototxt"}, rounds=0)
    cost = NetCost("a", {}, 1, 1.0, 1.0, 1.0, 1)
    with pytest.raises(CaffeCompatError, match="score"):
        plot_costs([cost], "x.png")
