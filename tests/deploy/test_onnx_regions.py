"""Two-stage detectors and YOLO's boxes as ONNX, computed by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.deploy.onnx.export import ExportOptions, export_net
from caffecompat.deploy.onnx.file import write_model
from caffecompat.deploy.onnx.run import run_model, run_net
from caffecompat.net import Net, NetError
from caffecompat.schema import parse_text, pb
from tests.deploy.region_nets import REGION_NETS
from tests.net.faster_rcnn import CPP_PROPOSAL, PYTHON_PROPOSAL, prototxt, rfcn_prototxt
from tests.net.nets import make_net

TWO_STAGES = {
    "Python": prototxt(PYTHON_PROPOSAL, 16, 176, 256),
    "C++": prototxt(CPP_PROPOSAL, 16, 176, 256),
    "R-FCN": rfcn_prototxt(16, 176, 256),
}


def check(net: Net, inputs: dict[str, np.ndarray], path: Path, opset: int) -> dict[str, np.ndarray]:
    export = export_net(net, ExportOptions(opset=opset))
    with path.open("wb") as file:
        write_model(file, export.model, export.weights)
    wanted, found = run_net(net, inputs), run_model(path, {export.inputs[blob]: inputs[blob] for blob in export.inputs})
    assert wanted.keys() == found.keys()
    for blob, values in wanted.items():
        assert found[blob].shape == values.shape
        np.testing.assert_allclose(found[blob], values, rtol=1e-3, atol=1e-4)
    return wanted


@pytest.mark.parametrize("opset", [12, 13, 18, 22])
@pytest.mark.parametrize("name", REGION_NETS)
def test_layers(name: str, opset: int, tmp_path: Path) -> None:
    text, inputs = REGION_NETS[name]
    net = Net(parse_text(text, pb.NetParameter()), pb.TEST, log=False)
    if name.startswith("ROIPooling") and opset > 21:
        with pytest.raises(NetError, match="MaxRoiPool up to opset 21"):
            export_net(net, ExportOptions(opset=opset))
        return
    for seed in (1, 2):
        check(net, inputs(np.random.default_rng(seed)), tmp_path / "net.onnx", opset)


@pytest.mark.parametrize("name", TWO_STAGES)
def test_two_stages(name: str, tmp_path: Path) -> None:
    torch.manual_seed(4)
    net = Net(parse_text(TWO_STAGES[name], pb.NetParameter()), pb.TEST, log=False)
    picture = np.random.default_rng(5).standard_normal((1, 3, 176, 256), np.float32)
    for factor, least in ((1.25, 100), (4, 1)):
        inputs = {"data": picture, "im_info": np.array([[176, 256, factor]], np.float32)}
        made = check(net, inputs, tmp_path / "x.onnx", 13)
        assert len(made["cls_prob"]) >= least


def test_older_opsets() -> None:
    """MaxRoiPool is as old as ONNX."""
    text, _ = REGION_NETS["ROIPooling"]
    net = Net(parse_text(text, pb.NetParameter()), pb.TEST, log=False)
    model = export_net(net, ExportOptions(opset=9)).model
    assert [node.op_type for node in model.graph.node] == ["MaxRoiPool"]
    net = Net(parse_text(REGION_NETS["Proposal of PVANet"][0], pb.NetParameter()), pb.TEST, log=False)
    with pytest.raises(NetError, match=r"the lowest opset that can is 12 \(--opset 12\)"):
        export_net(net, ExportOptions(opset=11))


def test_what_reads_labels_is_for_training() -> None:
    net = make_net("""
        layer { name: "x" type: "Input" top: "x" top: "l" input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }
        layer { name: "fc" type: "MarginInnerProduct" bottom: "x" bottom: "l" top: "fc"
          margin_inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }""")
    with pytest.raises(NetError, match="reads labels, which there are in training alone"):
        export_net(net)
