"""Nets in fixed point as ONNX: integers stored, and the net's integers computed by onnxruntime."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from caffecompat import ExportOptions, export_onnx, quantize_net
from caffecompat.cli.main import main
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.deploy.onnx.fixed_point import as_integers
from caffecompat.formats import save_caffemodel
from caffecompat.net import Net

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

MODELS = Path(__file__).parents[2] / "models"
RUNS = Path(__file__).parents[1] / "golden" / "quantize" / "small" / "runs"


def export(monkeypatch: pytest.MonkeyPatch, run: str, out: Path, *more: str, file: str = "quantize_train_test") -> int:
    monkeypatch.chdir(RUNS.parent)
    net = ["--model", f"runs/{run}/{file}.prototxt", "--weights", f"runs/{run}/{file}.caffemodel"]
    return main(["export", "onnx", *net, str(out), "--quantized", *more])


@pytest.mark.parametrize("file", ["quantize_train_test", "deploy"])
@pytest.mark.parametrize("run", ["main_m1_w8d8", "bnfold_m1_w8d8", "edge_m1_w8d8"])
def test_exact(
    run: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(monkeypatch, run, tmp_path / "net.onnx", "--exact", file=file) == 0
    assert "0.0000% of " in capsys.readouterr().out
    model = onnx.load(tmp_path / "net.onnx")
    assert not any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def test_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A pair for each neuron but the data's at its position, int8 weights, steps that are powers of two."""
    assert export(monkeypatch, "main_m1_w8d8", tmp_path / "net.onnx") == 0
    out = capsys.readouterr().out
    assert "QuantizeLinear rounds halves to even" in out
    differing, total = re.search(r"([0-9.]+)% of ([0-9,]+) integers differ, 100.0000% of 2 best", out).groups()  # type: ignore[union-attr]
    assert float(differing) < 0.1 and total == "82,217"
    model = onnx.load(tmp_path / "net.onnx")
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    rows = [line.split("\t") for line in (RUNS / "main_m1_w8d8" / "batch_positions.tsv").read_text().splitlines()[1:]]
    positions = {name: float(position) for name, position, *_ in rows}
    pairs = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(pairs) == len(positions) - 1  # the data's is cut toward zero without limits
    for node in pairs:
        neuron = node.name.split("/")[0]
        assert stored[node.input[1]] == 2.0 ** -positions[neuron]
        assert stored[node.input[2]].dtype == np.int8
    assert {values.dtype for name, values in stored.items() if name.endswith(".int")} == {np.dtype(np.int8)}
    assert stored["conv1.weight.int"].shape == (8, 3, 3, 3)


def test_sixteen_bits_need_opset_21(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(monkeypatch, "main_m1_w8d16", tmp_path / "old.onnx") == 0
    assert "in 16 bits: plain arithmetic; opset 21 has pairs up to 16 bits" in capsys.readouterr().out
    assert export(monkeypatch, "main_m1_w8d16", tmp_path / "net.onnx", "--opset", "21") == 0
    model = onnx.load(tmp_path / "net.onnx")
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    kinds = {stored[node.input[2]].dtype for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert kinds == {np.dtype(np.int16)}


def test_eight_and_six_bits_at_opset_21(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in ("main_m1_w8d8", "main_m1_w6d6"):
        assert export(monkeypatch, run, tmp_path / "net.onnx", "--opset", "21") == 0
        clips = [node for node in onnx.load(tmp_path / "net.onnx").graph.node if node.op_type == "Clip"]
        assert len(clips) >= 20  # to 8 and 6 bits


@pytest.mark.parametrize(("network", "share"), [("lenet", 0.26), ("espnet", 0.3)])
def test_file_sizes(network: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """About a quarter of the weights in floating point, and the same classes; ESPNet has 759 nodes."""
    monkeypatch.chdir(tmp_path)
    given = MODELS / network / "deploy.prototxt"
    size, shape = ((32, 64), (32, 64, 3)) if network == "espnet" else (None, (28, 28))
    net = Net(deploy_net(given, size=size).message, "TEST", log=False)
    with torch.no_grad():
        for layer in net.layers:
            if layer.type == "BatchNorm":
                layer.module.variance.fill_(1.0)
    save_caffemodel("net.caffemodel", net.message, net.blobs_by_layer())
    cv2.imwrite("a.png", np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    done = quantize_net(given, "net.caffemodel", ["a.png"], "out", size=size)
    made = export_onnx(done.files[2], done.files[3], "fixed.onnx", ExportOptions(quantized=True))
    assert Path("fixed.onnx").stat().st_size <= share * Path("net.caffemodel").stat().st_size
    assert made.agreement is not None
    assert made.agreement.equal >= 0.999 * made.agreement.classes > 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--opset", "11"], "--quantized needs opset 13 or newer"),
        (["--target", "dpu"], "DPU's tools quantize by themselves"),
    ],
)
def test_refused(
    more: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert export(monkeypatch, "main_m1_w8d8", tmp_path / "net.onnx", *more) == 2
    assert message in capfd.readouterr().err


def test_only_nets_in_fixed_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(RUNS.parent)
    net = ["--model", "main.prototxt", "--weights", "main.caffemodel", str(tmp_path / "net.onnx")]
    assert main(["export", "onnx", *net, "--quantized"]) == 2
    assert "the net has no FixedNeuron" in capfd.readouterr().err
    assert main(["export", "onnx", *net, "--exact"]) == 2
    assert "--exact" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("values", "opset", "wanted"),
    [
        ([127.0, -128.0], 13, (np.int8, 0)),
        ([128.0, -128.0], 13, (np.int8, -7)),
        ([129.0, 0.0], 13, None),
        ([129.0, 0.0], 21, (np.int16, 0)),
        ([0.75, 2.0**-20], 21, None),
        ([0.0, 0.0], 13, (np.int8, 0)),
        ([0.1, 0.2], 21, None),
        ([np.inf, 0.5], 21, None),
    ],
)
def test_as_integers(values: list[float], opset: int, wanted: tuple[type, int] | None) -> None:
    array = np.array(values, np.float32)
    found = as_integers(array, opset)
    if wanted is None:
        assert found is None
        return
    assert found is not None and (found[0].dtype, found[1]) == wanted
    np.testing.assert_array_equal(found[0] * 2.0 ** -found[1], array)
