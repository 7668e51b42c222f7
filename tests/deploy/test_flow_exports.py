"""FlowNet2's layers as ONNX, computed by onnxruntime, and as torch source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.deploy.onnx.export import ExportOptions, export_net
from caffecompat.deploy.onnx.file import write_model
from caffecompat.deploy.onnx.run import run_model, run_net
from caffecompat.deploy.torch_source.source import load_source, make_source, write_source
from caffecompat.errors import CaffeCompatError
from tests.deploy.flow_nets import FLOW_NETS, of_one
from tests.net.nets import make_net


@pytest.mark.parametrize("opset", [9, 11, 13, 16, 20])
@pytest.mark.parametrize("name", FLOW_NETS)
def test_onnx(name: str, opset: int, tmp_path: Path) -> None:
    text, inputs = FLOW_NETS[name]
    net = make_net(text)
    if name.startswith("FlowWarp") and opset < 11:
        with pytest.raises(CaffeCompatError, match="neither GridSample nor GatherElements"):
            export_net(net, ExportOptions(opset=opset))
        return
    export, path = export_net(net, ExportOptions(opset=opset)), tmp_path / "net.onnx"
    with path.open("wb") as file:
        write_model(file, export.model, export.weights)
    given = inputs(np.random.default_rng(1))
    wanted, found = run_net(net, given), run_model(path, {export.inputs[blob]: given[blob] for blob in export.inputs})
    assert wanted.keys() == found.keys()
    for blob, values in wanted.items():
        np.testing.assert_allclose(found[blob], values, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", FLOW_NETS)
def test_torch_source(name: str, tmp_path: Path) -> None:
    text, inputs = FLOW_NETS[name]
    net = make_net(text)
    source = make_source(net)
    write_source(source, str(tmp_path / "made.py"))
    made = load_source(str(tmp_path / "made.py"))
    given = {blob: torch.from_numpy(values) for blob, values in inputs(np.random.default_rng(1)).items()}
    with torch.no_grad():
        ours, theirs = made(*(given[blob] for blob in net.fed)), net.forward(given)
    torch.testing.assert_close(ours, theirs["out"], equal_nan=True)


def test_a_mean_that_is_still_to_be_computed() -> None:
    net = make_net(of_one("DataAugmentation", "augmentation_param { recompute_mean: 10 }")[0])
    with pytest.raises(CaffeCompatError, match="its mean is still to be computed"):
        export_net(net, ExportOptions())
    with pytest.raises(CaffeCompatError, match="its mean is still to be computed"):
        make_source(net)


def test_a_mean_of_a_weight_file(tmp_path: Path) -> None:
    text, inputs = of_one("DataAugmentation", "augmentation_param { recompute_mean: 10 crop_width: 9 crop_height: 7 }")
    net = make_net(text)
    layer = net.layers[-1].module
    with torch.no_grad():
        layer.batches.fill_(11)
        layer.mean_picture.normal_()
    given = inputs(np.random.default_rng(1))
    wanted = run_net(net, given)["out"]
    export, path = export_net(net, ExportOptions()), tmp_path / "net.onnx"
    with path.open("wb") as file:
        write_model(file, export.model, export.weights)
    np.testing.assert_allclose(run_model(path, {export.inputs["a"]: given["a"]})["out"], wanted, atol=1e-6)
    write_source(make_source(net), str(tmp_path / "made.py"))
    with torch.no_grad():
        made = load_source(str(tmp_path / "made.py"))(torch.from_numpy(given["a"]))
    torch.testing.assert_close(made, torch.from_numpy(wanted))
