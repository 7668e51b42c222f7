"""What onnxruntime computes slowly, in other operators: the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from caffecompat.net import Net
from caffecompat.schema import parse_text, pb

pytest.importorskip("onnxruntime")
from caffecompat.deploy.inference.onnxruntime_net import OnnxruntimeNet
from caffecompat.deploy.onnx.export import export_net
from caffecompat.deploy.onnx.quick import QUICK_PASSES

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 7 dim: 4 dim: 5 } } }'


def found(layer: str) -> tuple[set[str], torch.Tensor, torch.Tensor]:
    """The operators of a layer, its bottom and its top."""
    text = INPUT + f'layer {{ name: "top" bottom: "data" top: "top" {layer} }}'
    net = Net(parse_text(text, pb.NetParameter()), pb.TEST, log=False)
    operators = {node.op_type for node in export_net(net, passes=QUICK_PASSES).model.graph.node}
    data = 20 * torch.randn(2, 7, 4, 5)
    return operators, data, OnnxruntimeNet(net, net.fed_shapes)({"data": data})["top"]


@pytest.mark.parametrize(("size", "alpha", "beta", "k"), [(5, 1e-2, 0.75, 1), (3, 0.5, 0.5, 2), (9, 1, 1.3, 0.5)])
def test_normalization_across_channels(size: int, alpha: float, beta: float, k: float) -> None:
    setting = f"lrn_param {{ local_size: {size} alpha: {alpha} beta: {beta} k: {k} }}"
    operators, data, top = found(f'type: "LRN" {setting}')
    assert "LRN" not in operators and "Conv" in operators
    torch.testing.assert_close(top, F.local_response_norm(data, size, alpha, beta, k), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_softmax(axis: int) -> None:
    operators, data, top = found(f'type: "Softmax" softmax_param {{ axis: {axis} }}')
    assert ("Softmax" in operators) == (axis in (3, -1))
    torch.testing.assert_close(top, data.softmax(axis), rtol=1e-5, atol=1e-7)
    assert np.isfinite(top.numpy()).all()
