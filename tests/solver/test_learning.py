"""`--lr-mult` and `--freeze-bn`: what learns, and what stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch.nn.functional as F
from torch import tensor

from caffecompat.cli.main import main
from caffecompat.errors import CaffeCompatError
from caffecompat.solver import Solver

IP = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }"""
CONV = """
layer { name: "shape" type: "Reshape" bottom: "data" top: "shape"
  reshape_param { shape { dim: 0 dim: 3 dim: 1 dim: 1 } } }
layer { name: "conv" type: "Convolution" bottom: "shape" top: "conv" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "xavier" } } }"""
HEAD = """
layer { name: "ip" type: "InnerProduct" bottom: "LAST" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }"""
SCALE = 'layer { name: "scale" type: "Scale" bottom: "BOTTOM" top: "scale" scale_param { bias_term: true } }'
PLAIN = '\nlayer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" MORE }'
FIVE = "batch_norm_param { scale_filler { value: 1 } bias_filler { value: 0 } }"
NORMS = {
    "bvlc": PLAIN.replace("MORE", "") + SCALE.replace("BOTTOM", "bn"),
    "bvlc, whatever is stated": PLAIN.replace("MORE", "batch_norm_param { use_global_stats: false }")
    + SCALE.replace("BOTTOM", "bn").replace("scale_param", "param { lr_mult: 3 } scale_param"),
    "in place": PLAIN.replace('top: "bn" MORE', 'top: "conv"') + SCALE.replace("BOTTOM", "conv"),
    "xilinx": PLAIN.replace("MORE", FIVE),
    "nvcaffe": PLAIN.replace("MORE", "batch_norm_param { scale_bias: true }"),
    "pspnet": '\nlayer { name: "bn" type: "BN" bottom: "conv" top: "bn" bn_param { slope_filler { value: 1 } } }',
}


def _write(workdir: Path, norm: str) -> None:
    net = workdir / "net.prototxt"
    last = "scale" if "scale" in norm and 'name: "scale"' in norm else "bn"
    net.write_text(net.read_text().replace(IP, CONV + norm + HEAD.replace("LAST", last)))


def _blobs(solver: Solver) -> dict[str, list[np.ndarray]]:
    return {name: [blob.copy() for blob in blobs] for name, blobs in solver.net.blobs_by_layer().items()}


@pytest.mark.parametrize("name", NORMS)
def test_frozen_norms_stay_and_the_rest_learns(workdir: Path, log: list[str], name: str) -> None:
    _write(workdir, NORMS[name])
    Solver("solver.prototxt", overrides=["max_iter=10"]).train()
    solver = Solver("solver.prototxt", weights="snap_iter_10.caffemodel", freeze_bn=True)
    before = _blobs(solver)
    assert before["bn"][0].any() or before["bn"][2].any()  # there are statistics
    solver.step(6)
    after = _blobs(solver)
    for layer in ("bn", "scale"):
        for one, other in zip(before.get(layer, []), after.get(layer, []), strict=True):
            np.testing.assert_array_equal(one, other)
    assert all(not np.array_equal(one, other) for one, other in zip(before["ip"], after["ip"], strict=True))
    assert not np.array_equal(before["conv"][0], after["conv"][0])
    rates = {(param.layer, param.index): param.lr_mult for param in solver.net.params}
    assert {rate for (layer, _), rate in rates.items() if layer in ("bn", "scale")} == {0}
    assert (rates["conv", 0], rates["conv", 1], rates["ip", 0]) == (1, 2, 1)


def test_the_train_net_computes_with_the_stored_statistics(workdir: Path, log: list[str]) -> None:
    _write(workdir, NORMS["bvlc"])
    Solver("solver.prototxt", overrides=["max_iter=10"]).train()
    solver = Solver("solver.prototxt", weights="snap_iter_10.caffemodel", freeze_bn=True)
    batch = solver.net.next_batch()
    blobs = {name: [tensor(blob) for blob in stored] for name, stored in _blobs(solver).items()}
    x = F.conv2d(tensor(np.asarray(batch["data"])).reshape(-1, 3, 1, 1), *blobs["conv"])
    mean, variance = (blob / blobs["bn"][2] for blob in blobs["bn"][:2])
    x = F.batch_norm(x, mean, variance, *blobs["scale"], eps=1e-5).flatten(1)
    loss = F.cross_entropy(F.linear(x, *blobs["ip"]), tensor(np.asarray(batch["label"])).long().flatten())
    solver = Solver("solver.prototxt", weights="snap_iter_10.caffemodel", freeze_bn=True)
    found, _ = solver.passes.one()
    assert float(found) == pytest.approx(float(loss), rel=1e-5)


def test_a_scale_elsewhere_learns(workdir: Path, log: list[str]) -> None:
    relu = 'layer { name: "relu" type: "ReLU" bottom: "bn" top: "relu" }'
    _write(workdir, PLAIN.replace("MORE", "") + relu + SCALE.replace("BOTTOM", "relu"))
    solver = Solver("solver.prototxt", freeze_bn=True)
    assert [param.lr_mult for param in solver.net.params if param.layer == "scale"] == [1, 1]


def test_without_statistics_there_is_a_warning(workdir: Path, log: list[str]) -> None:
    _write(workdir, NORMS["bvlc"])
    Solver("solver.prototxt", overrides=["max_iter=1"], freeze_bn=True).train()
    assert any("frozen BatchNorm layers have no statistics yet, and divide by almost 0: bn;" in line for line in log)


def test_norms_without_statistics_cannot_be_frozen(workdir: Path, log: list[str]) -> None:
    _write(workdir, '\nlayer { name: "bn" type: "BN" bottom: "conv" top: "bn" bn_param { bn_mode: LEARN } }')
    with pytest.raises(CaffeCompatError, match=r"net.prototxt:\d+:\d+: .*bn_mode LEARN stores no statistics"):
        Solver("solver.prototxt", freeze_bn=True)


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ([], {"conv": [1, 2], "bn": [0, 0, 0], "scale": [1, 1], "ip": [1, 1]}),
        (["ip=10"], {"conv": [1, 2], "bn": [0, 0, 0], "scale": [1, 1], "ip": [10, 10]}),
        (["i*=10", "co*=0"], {"conv": [0, 0], "bn": [0, 0, 0], "scale": [1, 1], "ip": [10, 10]}),
        (["*=0.5"], {"conv": [0.5, 0.5], "bn": [0, 0, 0], "scale": [0.5, 0.5], "ip": [0.5, 0.5]}),
        (["*=0", "@InnerProduct=4"], {"conv": [0, 0], "bn": [0, 0, 0], "scale": [0, 0], "ip": [4, 4]}),
    ],
)
def test_multipliers(workdir: Path, log: list[str], settings: list[str], rates: dict[str, list[float]]) -> None:
    _write(workdir, NORMS["bvlc"])
    solver = Solver("solver.prototxt", lr_mults=settings)
    found: dict[str, list[float]] = {}
    for param in solver.net.params:
        found.setdefault(param.layer, []).append(param.lr_mult)
    assert found == rates
    before = _blobs(solver)
    solver.step(2)
    for name, blobs in _blobs(solver).items():
        for rate, one, other in zip(rates[name], before[name], blobs, strict=True):
            assert name == "bn" or (name, rate) == ("conv", 2) or np.array_equal(one, other) == (rate == 0)
    solver.net.save("saved.caffemodel")
    Solver("solver.prototxt", weights="saved.caffemodel")


def test_a_multiplied_step_is_that_much_longer(workdir: Path, log: list[str]) -> None:
    steps = []
    for settings in ([], ["ip=10"]):
        solver = Solver("solver.prototxt", lr_mults=settings)
        before = _blobs(solver)["ip"][0]
        solver.step(1)
        steps.append(_blobs(solver)["ip"][0] - before)
    np.testing.assert_allclose(steps[1], 10 * steps[0], rtol=1e-4, atol=1e-7)


def test_frozen_comes_before_a_multiplier(workdir: Path, log: list[str]) -> None:
    _write(workdir, NORMS["bvlc"])
    solver = Solver("solver.prototxt", lr_mults=["*=2"], freeze_bn=True)
    assert {param.lr_mult for param in solver.net.params if param.layer in ("bn", "scale")} == {0}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("fc*=10", "--lr-mult fc*=10: the train net has no layer whose name matches 'fc*'"),
        ("@InnerPrdouct=1", "has no layer of type 'InnerPrdouct'; did you mean InnerProduct?"),
        ("data=1", "no layer that 'data' names has weights that learn"),
        ("ip", "expected PATTERN=NUMBER"),
        ("ip=x", "expected PATTERN=NUMBER"),
        ("ip=-1", "expected PATTERN=NUMBER"),
        ("=2", "expected PATTERN=NUMBER"),
    ],
)
def test_multipliers_that_cannot_be(workdir: Path, log: list[str], setting: str, message: str) -> None:
    with pytest.raises(CaffeCompatError) as raised:
        Solver("solver.prototxt", lr_mults=[setting])
    assert message in str(raised.value)


def test_the_command(workdir: Path, log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    _write(workdir, NORMS["bvlc"])
    flags = ["train", "--solver", "solver.prototxt", "--dry-run"]
    assert main([*flags, "--lr-mult", "*=0", "--lr-mult", "ip=10", "--freeze-bn"]) == 0
    assert "(15 trained" in capsys.readouterr().out
    assert main([*flags, "--lr-mult", "nothing=1"]) != 0
