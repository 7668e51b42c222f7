"""A CRNN under the solver: it learns to read, computes what torch's own modules compute, and is deployed."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import caffecompat.pycaffe as caffe
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.deploy.onnx.errors import OnnxError
from caffecompat.deploy.onnx.export import ExportOptions, export_net
from caffecompat.deploy.onnx.file import write_model
from caffecompat.deploy.onnx.run import run_model, run_net
from caffecompat.deploy.torch_source.source import load_source, make_source, write_source
from caffecompat.net import Net
from caffecompat.schema import open_net, pb
from caffecompat.solver import Solver
from tests.net.crnn import BATCH, BLANK, STEPS, write_train_val


@pytest.fixture
def train_val(tmp_path: Path) -> Path:
    return write_train_val(tmp_path)


def test_it_learns_to_read(train_val: Path) -> None:
    path = train_val.with_name("solver.prototxt")
    path.write_text(
        f'net: "{train_val}" type: "Adam" base_lr: 0.01 lr_policy: "fixed" max_iter: 200 random_seed: 1 '
        "clip_gradients: 100 test_iter: 6 test_interval: 1000 snapshot_after_train: false"
    )
    solver = Solver(path)
    before = solver.test(0)
    solver.step(120)
    after = solver.test(0)
    assert before is not None and after is not None
    assert before["accuracy"][0] < 0.2 and after["accuracy"][0] > 0.9
    assert after["loss"][0] < 0.15 * before["loss"][0]


def _lstm(blobs: Any) -> nn.LSTM:
    """torch's LSTM, whose gates are input, forget, candidate, output, with the weights of Caffe's."""
    values = [torch.from_numpy(blob.data.copy()) for blob in blobs]
    lstm = nn.LSTM(values[0].shape[1], values[2].shape[1])
    for name, value in zip(("weight_ih_l0", "bias_ih_l0", "weight_hh_l0"), values, strict=True):
        i, f, o, g = value.chunk(4)
        getattr(lstm, name).data = torch.cat([i, f, g, o])
    lstm.bias_hh_l0.data.zero_()
    return lstm


def _scores(net: Any, data: Tensor, weight: Tensor) -> Tensor:
    """What the net computes with another weight of its convolution, by torch's own modules."""
    pooled = F.max_pool2d(F.relu(F.conv2d(data, weight, torch.from_numpy(net.params["conv"][1].data), padding=1)), 2)
    steps = torch.einsum("nchw->wnch", pooled).flatten(2)
    ahead, _ = _lstm(net.params["forwards"])(steps)
    back, _ = _lstm(net.params["backwards"])(steps.flip(0))
    both = torch.cat([ahead, back.flip(0)], 2)
    return F.linear(both, *(torch.from_numpy(blob.data) for blob in net.params["fc"]))


def test_pycaffe_shows_what_torchs_own_modules_compute(train_val: Path) -> None:
    net = caffe.Net(str(train_val), caffe.TEST)
    net.forward()
    net.backward()
    data, labels = (torch.from_numpy(net.blobs[name].data.copy()) for name in ("data", "label"))
    assert net.blobs["indicator"].data.sum(1).tolist() == [0] + [BATCH] * (STEPS - 1)
    weight = torch.from_numpy(net.params["conv"][0].data.copy()).requires_grad_()
    scores = _scores(net, data, weight)
    lengths = (labels != BLANK).sum(1)
    sum_of_losses = F.ctc_loss(
        scores.log_softmax(2), labels[labels != BLANK].long(), torch.full((BATCH,), STEPS), lengths, BLANK,
        reduction="sum",
    )  # fmt: skip
    np.testing.assert_allclose(net.blobs["fc"].data, scores.detach(), rtol=1e-4, atol=1e-5)
    assert float(net.blobs["loss"].data) == pytest.approx(sum_of_losses.item() / BATCH, rel=1e-4)
    sum_of_losses.backward()  # the gradient, in Caffe too, is that of the sum
    assert weight.grad is not None
    np.testing.assert_allclose(net.params["conv"][0].diff, weight.grad, rtol=1e-3, atol=1e-3)
    paths = scores.argmax(2).t().tolist()
    right = [
        [sign for sign, _ in groupby(path) if sign != BLANK] == row[row != BLANK].tolist()
        for path, row in zip(paths, labels, strict=True)
    ]
    assert float(net.blobs["accuracy"].data) == pytest.approx(np.mean(right))


def test_indicators_that_follow_the_batch(train_val: Path, tmp_path: Path) -> None:
    text = train_val.read_text()
    train_val.write_text(
        text.replace('"ContinuationIndicator" top', '"ContinuationIndicator" bottom: "data" top').replace(
            f'batch_size: {BATCH} }} }}\nlayer {{ name: "forwards', '} }\nlayer { name: "forwards'
        )
    )
    net = Net(deploy_net(open_net(train_val), batch=1).message, pb.TEST, log=False)
    inputs = {"data": np.random.default_rng(3).normal(0, 1, (1, 1, 8, 24)).astype(np.float32)}
    wanted = run_net(net, inputs)["fc"]
    assert wanted.shape == (STEPS, 1, 4)
    write_source(make_source(net), str(tmp_path / "made.py"))
    made = load_source(str(tmp_path / "made.py"))
    np.testing.assert_allclose(made(torch.from_numpy(inputs["data"])).detach(), wanted, rtol=1e-4, atol=1e-5)
    several = torch.from_numpy(np.repeat(inputs["data"], 3, 0))
    np.testing.assert_allclose(made(several).detach(), np.repeat(wanted, 3, 1), rtol=1e-4, atol=1e-5)


def test_its_deploy_net_reads_alike_everywhere(train_val: Path, tmp_path: Path) -> None:
    deployed = deploy_net(open_net(train_val), head="softmax")
    kinds = {layer.name: layer.type for layer in deployed.message.layer}
    assert kinds["indicator"] == "ContinuationIndicator" and kinds["prob"] == "Softmax"
    assert not {"loss", "accuracy", "by_item"} & kinds.keys()  # the last only turned the scores for the accuracy
    assert "axis permutations for metrics left out: by_item" in deployed.notes
    assert deployed.inputs == {"data": (BATCH, 1, 8, 24)}  # the indicators are for this batch
    assert any("keeps its batch of 16: layer 'forwards' (LSTM)" in note for note in deployed.notes)
    torch.manual_seed(1)
    net = Net(deployed.message, pb.TEST, log=False)
    inputs = {"data": np.random.default_rng(3).normal(0, 1, (BATCH, 1, 8, 24)).astype(np.float32)}
    wanted = run_net(net, inputs)
    assert list(wanted) == ["prob"]
    np.testing.assert_allclose(wanted["prob"].sum(2), np.ones((STEPS, BATCH)), rtol=1e-5)

    write_source(make_source(net), str(tmp_path / "made.py"))
    made = load_source(str(tmp_path / "made.py"))
    with torch.no_grad():
        np.testing.assert_allclose(made(torch.from_numpy(inputs["data"])), wanted["prob"], rtol=1e-4, atol=1e-5)
    for opset in (9, 13, 20):
        export = export_net(net, ExportOptions(opset=opset))
        with (tmp_path / "net.onnx").open("wb") as file:
            write_model(file, export.model, export.weights)
        np.testing.assert_allclose(
            run_model(tmp_path / "net.onnx", inputs)["prob"], wanted["prob"], rtol=1e-4, atol=1e-5
        )
    with pytest.raises(OnnxError, match=r"--batch dynamic: .*layer 'forwards' \(LSTM\)"):
        export_net(net, ExportOptions(dynamic=True))
