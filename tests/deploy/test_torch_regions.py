"""Two-stage detectors and YOLO's boxes as torch source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.deploy.torch_source.source import load_source, make_source, write_source
from caffecompat.net import Net
from caffecompat.schema import parse_text, pb
from tests.deploy.region_nets import REGION_NETS
from tests.net.faster_rcnn import CPP_PROPOSAL, PYTHON_PROPOSAL, prototxt, rfcn_prototxt

TWO_STAGES = {
    "Python": prototxt(PYTHON_PROPOSAL, 16, 176, 256),
    "C++": prototxt(CPP_PROPOSAL, 16, 176, 256),
    "R-FCN": rfcn_prototxt(16, 176, 256),
}


def written(net: Net, folder: Path) -> tuple[str, torch.nn.Module]:
    source = make_source(net)
    path = folder / "made.py"
    write_source(source, str(path))
    return source.text, load_source(str(path))


@pytest.mark.parametrize("name", TWO_STAGES)
def test_two_stages(name: str, tmp_path: Path) -> None:
    torch.manual_seed(4)
    net = Net(parse_text(TWO_STAGES[name], pb.NetParameter()), pb.TEST, log=False)
    text, made = written(net, tmp_path)
    assert "caffecompat.layers" not in text and "import caffe" not in text
    torch.manual_seed(5)
    picture, info = torch.randn(1, 3, 176, 256), torch.tensor([[176.0, 256, 1.25]])
    with torch.no_grad():
        ours, theirs = made(picture, info), net.forward({"data": picture, "im_info": info})
    assert ours.keys() == theirs.keys() and len(theirs["cls_prob"]) > 100
    for blob, values in theirs.items():
        torch.testing.assert_close(ours[blob], values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REGION_NETS)
def test_layers(name: str, tmp_path: Path) -> None:
    text, inputs = REGION_NETS[name]
    net = Net(parse_text(text, pb.NetParameter()), pb.TEST, log=False)
    _, made = written(net, tmp_path)
    given = {blob: torch.from_numpy(values) for blob, values in inputs(np.random.default_rng(1)).items()}
    with torch.no_grad():
        ours, theirs = made(*(given[blob] for blob in net.fed)), net.forward(given)
    ours = ours if isinstance(ours, dict) else {next(iter(theirs)): ours}
    for blob, values in theirs.items():
        torch.testing.assert_close(ours[blob], values, rtol=1e-4, atol=1e-5)
