"""AutoCrop, exported: the slice that its net found."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import torch

from caffecompat.deploy.torch_source.source import make_source
from tests.deploy.exporting import export, input_of, operators
from tests.deploy.test_torch_layers import _run
from tests.net.nets import layer

TEXT = (
    input_of(1, 3, 6, 6)
    + layer("Convolution", "data", "a", "convolution_param { num_output: 2 kernel_size: 3 pad: 4 }")
    + layer("AutoCrop", "a", "top", 'bottom: "data"')
)


def test_onnx(tmp_path: Path) -> None:
    done = export(TEXT, tmp_path / "net.onnx")
    assert operators(done) == ["Conv", "Slice"]
    picture = torch.randn(1, 3, 6, 6)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    made = torch.from_numpy(session.run(None, {"data": picture.numpy()})[0])
    torch.testing.assert_close(made, done.net.forward({"data": picture})["top"].detach())


def test_torch_source(tmp_path: Path) -> None:
    net = export(TEXT, tmp_path / "net.onnx").net
    picture = {"data": torch.randn(1, 3, 6, 6)}
    made = _run(make_source(net), picture, torch.contiguous_format)["top"]
    torch.testing.assert_close(made, net.forward(picture)["top"].detach())
