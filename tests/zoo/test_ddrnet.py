"""DDRNet computes what the same net in torch does from the same weights, which find their layers by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from caffecompat.deploy.convert_weights import convert_weights
from caffecompat.net import Net
from caffecompat.schema import pb
from caffecompat.zoo import NETWORKS, network_files
from tests.zoo.torch_ddrnet import Classifier, Segmenter


def _with_statistics(model: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight.data, 0.5, 1.5)
            nn.init.uniform_(module.running_var, 0.2, 0.8)
            for values in (module.bias.data, module.running_mean):
                nn.init.normal_(values, std=0.3)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("ddrnet23_slim", Classifier(planes=32, last=1024, classes=6)),
        ("ddrnet23_slim_seg", Segmenter(planes=32, pyramid=128, head=64, classes=6)),
    ],
)
def test_same_numbers_as_in_torch(name: str, model: nn.Module, tmp_path: Path) -> None:
    """At a size that no level divides evenly."""
    _with_statistics(model)
    network, (height, width) = NETWORKS[name], (150, 170)
    files = network_files(network, replace(network.recipe, classes=6, width=width, height=height))
    deploy, weights = tmp_path / "deploy.prototxt", tmp_path / "net.caffemodel"
    deploy.write_text(files["deploy.prototxt"])
    torch.save(model.state_dict(), tmp_path / "model.pth")
    done = convert_weights(tmp_path / "model.pth", weights, model=deploy, accept_guess=True)
    assert not done.missing
    picture = torch.randn(1, 3, height, width)
    with torch.no_grad():
        (found,) = Net(deploy, pb.TEST, log=False, weights=weights)(picture).values()
        expected = model(picture).softmax(1)
    assert float(expected.std()) > 0.05  # the scores differ
    torch.testing.assert_close(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
