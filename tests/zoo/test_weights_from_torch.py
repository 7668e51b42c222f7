"""The zoo's networks take the weights of torch's libraries: all of them arrive, and the outputs are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from caffecompat.deploy.convert_weights import convert_weights
from caffecompat.net import Net
from caffecompat.schema import pb, read_net
from caffecompat.zoo import NETWORKS, network_files
from tests.net.torchvision_mobilenet import MobileNetV2
from tests.net.torchvision_resnet import ResNet


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(2)


def _converted(
    name: str, model: nn.Module, size: int, *, keep: str = "", **how: bool
) -> tuple[Net, set[str], list[str]]:
    """The deploy net of a network for 10 classes with the model's weights, what got none, and what is doubted.

    Args:
        keep: the blob that the net ends with, if not at its end.
    """
    network = NETWORKS[name]
    files = network_files(network, replace(network.recipe, classes=10, width=size, height=size, deploy_batch=2))
    Path("deploy.prototxt").write_text(files["deploy.prototxt"])
    torch.save(model.state_dict(), "model.pth")
    notes: list[str] = []
    done = convert_weights(
        "model.pth", "net.caffemodel", model="deploy.prototxt", accept_guess=True, on_note=notes.append, **how
    )
    message = read_net("deploy.prototxt")
    if keep:
        last = max(at for at, layer in enumerate(message.layer) if keep in layer.top)
        del message.layer[last + 1 :]
    net = Net(message, pb.TEST, log=False, weights="net.caffemodel")
    return net, set(done.missing), [note for note in notes if note.startswith("#")]


def test_mobilenet_v2() -> None:
    model = MobileNetV2(10)
    net, missing, doubts = _converted("mobilenet_v2", model, 64)
    assert (missing, doubts) == (set(), [])
    picture = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(picture).softmax(1)
        torch.testing.assert_close(net(picture)["prob"].flatten(1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", [34, 50, 101])
def test_resnet(depth: int) -> None:
    """The scores, before the softmax; torchvision's widths."""
    model = ResNet(depth, classes=10)
    net, missing, doubts = _converted(f"resnet{depth}", model, 64, keep="fc")
    assert (missing, doubts) == (set(), [])
    picture = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(picture)
        scale = float(expected.abs().max())
        torch.testing.assert_close(net(picture)["fc"] / scale, expected / scale, rtol=1e-5, atol=1e-5)


def test_the_backbone_of_ssd300_on_resnet34() -> None:
    """Up to the third stage, which is not strided there; the rest of the model is listed as not used."""
    model = ResNet(34, classes=10)
    net, missing, doubts = _converted("ssd300_resnet34", model, 300, keep="layer3_5_add", allow_missing=True)
    detector = {layer.name for layer in Net("deploy.prototxt", pb.TEST, log=False).layers if layer.slots}
    assert missing == {name for name in detector if name.startswith("additional") or "_mbox_" in name}
    unused = {line.split()[3].split(".")[0] for line in doubts if line.startswith("# not used: ")}
    assert unused == {"layer4", "fc"}
    assert not [line for line in doubts if line.startswith("# to decide: ")], "no head is offered a layer of another"
    model.layer3[0].conv1.stride = model.layer3[0].downsample[0].stride = (1, 1)
    model.layer4 = nn.Identity()
    picture = torch.randn(2, 3, 97, 97)
    with torch.no_grad():
        expected = model.features(picture)
        scale = float(expected.abs().max())
        torch.testing.assert_close(net(picture)["layer3_5_add"] / scale, expected / scale, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stride", [16, 8])
def test_the_backbone_of_deeplab(stride: int) -> None:
    """ResNet-101 of which the last stages are dilated instead of strided, the last one in multi-grid 1-2-4."""
    model = ResNet(101, classes=10)
    net, missing, doubts = _converted(f"deeplab_v3_s{stride}", model, 65, keep="layer4_2_add", allow_missing=True)
    assert all(name.startswith(("aspp", "image_pool", "classifier")) for name in missing)
    assert doubts[len(missing) :] == ["# not used: fc (weight 10x2048, bias 10)"], "nor is fc offered to another head"
    _dilate(model.layer4, [32 // stride * grid for grid in (1, 2, 4)])
    if stride == 8:
        _dilate(model.layer3, [2] * len(model.layer3))
    picture = torch.randn(2, 3, 65, 65)
    with torch.no_grad():
        expected = model.features(picture)
        scale = float(expected.abs().max())
        torch.testing.assert_close(net(picture)["layer4_2_add"] / scale, expected / scale, rtol=1e-5, atol=1e-5)


def _dilate(stage: nn.Sequential, dilations: list[int]) -> None:
    for block, dilation in zip(stage, dilations, strict=True):
        block.conv2.stride, block.conv2.dilation, block.conv2.padding = (1, 1), (dilation,) * 2, (dilation,) * 2
    stage[0].downsample[0].stride = (1, 1)


class _Fire(nn.Module):
    """torchvision's, of which only the names count here."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


class _SqueezeNet(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()

        def pool() -> nn.MaxPool2d:
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), _Fire(64, 16, 64), _Fire(128, 16, 64), pool(),
            _Fire(128, 32, 128), _Fire(256, 32, 128), pool(), _Fire(256, 48, 192), _Fire(384, 48, 192),
            _Fire(384, 64, 256), _Fire(512, 64, 256),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, classes, 1), nn.ReLU())
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x)).mean((2, 3))


def test_squeezenet() -> None:
    model = _SqueezeNet(10)
    net, missing, doubts = _converted("squeezenet", model, 64)
    assert (missing, doubts) == (set(), [])
    picture = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(picture).softmax(1)
        torch.testing.assert_close(net(picture)["prob"].flatten(1), expected, rtol=1e-5, atol=1e-5)


def _vgg16(classes: int) -> nn.Module:
    """torchvision's convolutions and classifier."""
    layers: list[nn.Module] = []
    channels = 3
    for outputs in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if outputs:
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU()]
            channels = outputs
        else:
            layers.append(nn.MaxPool2d(2, 2))
    model = nn.Module()
    model.features = nn.Sequential(*layers)
    model.classifier = nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, classes))
    return model


def test_the_backbone_of_ssd300_on_vgg16() -> None:
    model = _vgg16(1000)
    net, missing, doubts = _converted("vgg16_ssd300", model, 300, allow_missing=True)
    convolutions = [module for module in model.features if isinstance(module, nn.Conv2d)]
    backbone = [layer for layer in net.layers if layer.name.startswith("conv") and layer.slots][: len(convolutions)]
    for layer, module in zip(backbone, convolutions, strict=True):
        assert torch.equal(layer.slots[0].tensor(), module.weight) and torch.equal(layer.slots[1].tensor(), module.bias)
    assert not {layer.name for layer in backbone} & missing and {"fc6", "fc7", "conv4_3_norm"} <= missing
    assert any(line.startswith("# not used: classifier.0 ") for line in doubts)
