"""Nets that only infer: both engines, the choice between them, and what cannot be."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import caffecompat
from caffecompat import CaffeCompatError, load_net
from caffecompat.deploy.inference import choice, inference_net
from caffecompat.deploy.inference.choice import TABLE, Work, faster_engine, work_of
from caffecompat.deploy.inference.inference_net import InferenceNet
from caffecompat.net import Net
from caffecompat.schema import parse_text, pb
from caffecompat.zoo import NETWORKS, network_files

pytest.importorskip("onnxruntime")

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "prob" type: "Softmax" bottom: "conv" top: "prob" }
"""
DEEP = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }
layer { name: "bn" type: "BatchNorm" bottom: "a" top: "b" batch_norm_param { eps: 1 } }
layer { name: "c" type: "Convolution" bottom: "b" top: "c"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "relu2" type: "ReLU" bottom: "c" top: "c" }
layer { name: "d" type: "Convolution" bottom: "c" top: "d"
  convolution_param { num_output: 8 kernel_size: 1 weight_filler { type: "msra" } } }
"""
RECURRENT = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 1 dim: 4 } } }
layer { name: "cont" type: "Input" top: "cont" input_param { shape { dim: 2 dim: 1 } } }
layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "lstm"
  recurrent_param { num_output: 3 weight_filler { type: "gaussian" std: 1 } } }
"""


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    made = Net(parse_text(NET, pb.NetParameter()), pb.TEST, log=False)
    for slot in next(layer for layer in made.layers if layer.name == "bn").slots:
        slot.tensor().copy_(torch.rand(slot.shape) + 0.5)
    return made


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for blob, top in expected.items():
        torch.testing.assert_close(found[blob], top.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_both_engines(net: Net, engine: str) -> None:
    """Arrays or tensors, by place or name, in any batch and size; nothing else of the net changes."""
    quick = InferenceNet(net, engine)
    data = torch.randn(1, 3, 8, 8)
    expected = net(data)
    same(quick(data), expected)
    same(quick(data=data.numpy()), expected)
    same(quick({"data": data.contiguous(memory_format=torch.channels_last), "more": data}), expected)
    for shape in ((4, 3, 8, 8), (1, 3, 5, 12)):
        same(quick(torch.ones(shape)), net(torch.ones(shape)))
        assert quick.used == engine
    assert net.fed_shapes == {"data": (1, 3, 8, 8)} and not list(quick.parameters())
    assert quick.outputs == ["prob"] and quick.fed == ["data"]


def test_few_sessions_are_opened(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    """Each holds the weights: pictures of ever other sizes are computed by torch, which one line says."""
    quick, used = InferenceNet(net, "onnxruntime"), []
    with caplog.at_level(logging.INFO, "caffecompat"):
        for width in (8, 9, 10, 11, 8, 12):
            same(quick(torch.ones(1, 3, 8, width)), net(torch.ones(1, 3, 8, width)))
            used.append(quick.used)
    assert used == ["onnxruntime"] * 3 + ["torch", "onnxruntime", "torch"]
    assert caplog.text.count("in other shapes than the first 3") == 1


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("where", ["weights", "statistics", "data"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_seen_in_the_scores(engine: str, where: str, value: float) -> None:
    """A ReLU that is computed with a convolution takes NaN for 0."""
    torch.manual_seed(0)
    net = Net(parse_text(DEEP, pb.NetParameter()), pb.TEST, log=False)
    data = torch.randn(2, 3, 8, 8)
    quick = InferenceNet(net, engine)
    quick(data)
    if where == "data":
        data[1, 0, 3, 3] = value
    else:
        broken = net.layers[1 if where == "weights" else 3].slots[0].tensor()
        with torch.no_grad():
            broken.flatten()[0] = value
        quick = InferenceNet(net, engine)
    with torch.no_grad():
        expected = net(data)["d"]
    assert not expected.isfinite().all()
    torch.testing.assert_close(quick(data)["d"], expected, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "auto"])
def test_several_threads(net: Net, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are opened while other threads compute; the net stays whole."""
    monkeypatch.setattr(inference_net, "faster_engine", lambda net: "onnxruntime")
    pictures = {width: torch.rand(1, 3, 8, width) for width in (8, 9, 10, 11)}
    with torch.no_grad():
        expected = {width: net(data) for width, data in pictures.items()}
    quick = InferenceNet(net, engine)

    def compute(first: int) -> None:
        for at in range(12):
            width = 8 + (first + at) % 4
            same(quick(pictures[width]), expected[width])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(compute, range(4)))
    assert not any(parameter.is_meta for parameter in net.parameters())


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "auto"])
def test_what_is_given_wrongly(net: Net, engine: str) -> None:
    quick = InferenceNet(net, engine)
    with pytest.raises(CaffeCompatError, match="net 'small' needs inputs for 'data'"):
        quick({"other": torch.ones(1)})
    with pytest.raises(CaffeCompatError, match="takes 'data'"):
        quick(image=torch.ones(1, 3, 8, 8))
    with pytest.raises(CaffeCompatError, match="conv"):
        quick(torch.ones(1, 4, 8, 8))
    with pytest.raises(CaffeCompatError, match="stays on its device"):
        quick.double()
    same(quick(torch.ones(1, 3, 8, 8)), net(torch.ones(1, 3, 8, 8)))


def test_a_net_that_onnxruntime_cannot_compute(caplog: pytest.LogCaptureFixture) -> None:
    """One line says so, and torch computes it; its state goes on from pass to pass."""
    torch.manual_seed(0)
    nets = [Net(parse_text(RECURRENT, pb.NetParameter()), pb.TEST, log=False) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    quick = InferenceNet(nets[0], "onnxruntime")
    with caplog.at_level(logging.INFO, "caffecompat"):
        for _ in range(3):
            x, cont = torch.randn(2, 1, 4), torch.ones(2, 1)
            same(quick(x=x, cont=cont), nets[1](x=x, cont=cont))
    assert quick.used == "torch"
    assert [record.message for record in caplog.records if "not onnxruntime" in record.message] == [
        "torch computes net '', not onnxruntime: its recurrent layers go on from what the pass before left, which ONNX "
        "has no form for"
    ]


def test_a_session_that_computes_something_else(
    net: Net, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = inference_net.OnnxruntimeNet

    class Wrong(opened):  # type: ignore[misc, valid-type]
        def __call__(self, fed: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {blob: top + 0.01 for blob, top in super().__call__(fed).items()}

    monkeypatch.setattr(inference_net, "OnnxruntimeNet", Wrong)
    with caplog.at_level(logging.INFO, "caffecompat"):
        same(InferenceNet(net, "onnxruntime")(torch.ones(1, 3, 8, 8)), net(torch.ones(1, 3, 8, 8)))
    assert "it computes something else than torch: prob: largest difference 0.01" in caplog.text


@pytest.mark.parametrize("dtype", ["double", "amp"])
def test_other_numbers_than_32_bits(net: Net, dtype: str) -> None:
    other = (
        net.double() if dtype == "double" else Net(parse_text(NET, pb.NetParameter()), pb.TEST, log=False, amp="bf16")
    )
    quick = InferenceNet(other, "onnxruntime")
    found = quick(torch.ones(1, 3, 8, 8))["prob"]
    with torch.no_grad():
        assert torch.equal(found, other(torch.ones(1, 3, 8, 8))["prob"]) and quick.used == "torch"


def test_auto_waits_until_a_session_is_worth_opening(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference_net, "faster_engine", lambda net: "onnxruntime")
    monkeypatch.setattr(inference_net, "_OPENING", 2.5 * work_of(net).macs)
    data, patient = torch.ones(1, 3, 8, 8), InferenceNet(net, "auto", hesitates=True)
    used = []
    for _ in range(4):
        same(patient(data), net(data))
        used.append(patient.used)
    assert used == ["torch", "torch", "onnxruntime", "onnxruntime"]
    at_once = InferenceNet(net, "auto")
    at_once(data)
    assert at_once.used == "onnxruntime"
    monkeypatch.setattr(inference_net, "faster_engine", lambda net: "torch")
    other = InferenceNet(net, "auto")
    other(data)
    assert other.used == "torch"


def test_without_onnxruntime(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """auto goes without it; who asks for it is told what to install."""
    monkeypatch.setattr(inference_net, "find_spec", lambda name: None)
    monkeypatch.setattr(inference_net, "faster_engine", lambda net: "onnxruntime")
    quick = InferenceNet(net, "auto")
    quick(torch.ones(1, 3, 8, 8))
    assert quick.used == "torch"
    with pytest.raises(CaffeCompatError, match=r"install the extra: pip install 'caffecompat\[onnx\]'"):
        InferenceNet(net, "onnxruntime")
    with pytest.raises(CaffeCompatError, match="engine 'tensorrt': expected auto, torch, onnxruntime"):
        InferenceNet(net, "tensorrt")


def test_load_net(net: Net, tmp_path: Path) -> None:
    prototxt, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    prototxt.write_text(NET)
    net.save(weights)
    data = np.random.default_rng(0).standard_normal((1, 3, 8, 8), np.float32)
    for engine in inference_net.ENGINES:
        same(load_net(prototxt, weights, engine=engine)(data), net(data))
    assert isinstance(load_net(prototxt, weights), caffecompat.Net)
    with pytest.raises(CaffeCompatError, match="leave it out for a net that trains"):
        load_net(prototxt, weights, "TRAIN", engine="torch")
    with pytest.raises(CaffeCompatError, match="engine 'fast'"):
        load_net(prototxt, weights, engine="fast")


def test_the_table() -> None:
    """Its nets themselves are found in it, whatever their batch; a net is one kind of work more than another."""
    rows = choice._table()
    assert TABLE.is_file() and {row.batch for row in rows} >= {1, 10}
    for row in rows:
        assert sum(row.shares.values()) == pytest.approx(1, abs=0.01) and row.milliseconds.keys() >= {"torch"}
    for name in ("lenet", "squeezenet"):
        net = Net(parse_text(network_files(NETWORKS[name])["deploy.prototxt"], pb.NetParameter()), pb.TEST, log=False)
        work = work_of(net)
        assert sum(work.shares.values()) == pytest.approx(1)
        nearest = min(rows, key=lambda row: row.work.distance(work))
        assert nearest.net == name and faster_engine(net) == nearest.faster
    one = Work(1e9, {"deconvolution": 1.0})
    assert one.distance(Work(1e9, {"deconvolution": 1.0})) == 0
    assert one.distance(Work(1e10, {"deconvolution": 1.0})) == pytest.approx(0.25)
    assert one.distance(Work(1e9, {"inner product": 0.5, "deconvolution": 0.5})) == pytest.approx(1)
