"""A net with Intel Caffe's fused layers through the verbs that deploy nets."""

from __future__ import annotations

import pytest
import torch

from caffecompat.net import Net
from caffecompat.schema import pb

NET = """
name: "fused"
engine: "MKLDNN"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "c0" type: "Convolution" bottom: "data" top: "c0"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "msra" }
    relu: true negative_slope: 0.1 } }
layer { name: "c1" type: "Convolution" bottom: "c0" top: "c1"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "c1" top: "c1" batch_norm_param { relu: true } }
layer { name: "c2" type: "Convolution" bottom: "c1" bottom: "c0" top: "c2"
  convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "msra" }
    relu: true fusion_type: SUM_FUSION } }
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    """The files net.prototxt and net.caffemodel, of one forward pass's output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    torch.manual_seed(1)
    made = Net("net.prototxt", pb.TEST, log=False)
    for layer in made.layers:
        for slot in layer.slots:
            if layer.type == "BatchNorm":
                slot.tensor().uniform_(0.5, 1.5)
    made.save("net.caffemodel")
    return made


@pytest.mark.parametrize(
    "words",
    [
        "export onnx --model net.prototxt --weights net.caffemodel out.onnx",
        "export torch --model net.prototxt --weights net.caffemodel out.py",
        "merge-bn net.prototxt net.caffemodel out.prototxt out.caffemodel",
    ],
)
def test_exports_compute_the_same(net, command, words):
    result = command(*words.split())
    assert result.status == 0, result.err
    assert "c2: largest difference" in result.out


def test_an_upgraded_text_is_the_same_net(net, command):
    assert command("upgrade_net_proto_text", "net.prototxt", "new.prototxt").status == 0
    x = {"data": torch.randn(1, 3, 8, 8)}
    other = Net("new.prototxt", pb.TEST, log=False, weights="net.caffemodel")
    torch.testing.assert_close(other.forward(x)["c2"], net.forward(x)["c2"])
    assert command("diff", "net.prototxt", "new.prototxt").status == 0
