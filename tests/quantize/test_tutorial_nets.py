"""The five networks of Xilinx' segmentation tutorial: as many neurons, and in the places, that its logs print."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from caffecompat import quantize_net
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.formats import save_caffemodel
from caffecompat.net import Net
from caffecompat.quantize.neurons import place_neurons
from caffecompat.quantize.quantizer import folded_net
from caffecompat.quantize.settings import QuantizeSettings
from caffecompat.schema import NetDocument, open_net, pb

MODELS = Path(__file__).parents[2] / "models"
NEURONS = {"espnet": 140, "enet": 122, "fpn": 44, "unet_lite": 28, "unet_full": 28}
FOLDERS = {"fpn": "FPN", "unet_lite": "unet-lite", "unet_full": "unet-full"}  # of the tutorial, where other names


def _save_seeded(message: pb.NetParameter, path: Path) -> None:
    """Weights as the fillers make them, and variances of 1."""
    torch.manual_seed(0)
    net = Net(message, "TEST", log=False)
    with torch.no_grad():
        for layer in net.layers:
            if layer.type == "BatchNorm":
                layer.module.variance.fill_(1.0)
    save_caffemodel(path, net.message, net.blobs_by_layer())


def _placed(path: Path, tmp_path: Path) -> pb.NetParameter:
    """The net of a prototxt folded, with its neurons; weights as the fillers make them."""
    given = open_net(path)
    deployed = deploy_net(given, size=(64, 128))
    document = NetDocument.from_message(deployed.message, str(path), like=given.fork_choice)
    _save_seeded(deployed.message, tmp_path / "net.caffemodel")
    folded, _ = folded_net(document, tmp_path / "net.caffemodel", QuantizeSettings())
    return place_neurons(folded.message, QuantizeSettings(input_blob="data"))


def _count(net: pb.NetParameter) -> int:
    return sum(layer.type == "FixedNeuron" for layer in net.layer)


@pytest.mark.parametrize("network", NEURONS)
def test_neurons_of_our_networks(network: str, tmp_path: Path) -> None:
    net = _placed(MODELS / network / "deploy.prototxt", tmp_path)
    assert _count(net) == NEURONS[network]
    assert not any(layer.type == "BatchNorm" for layer in net.layer)


@pytest.mark.parametrize("network", NEURONS)
def test_the_published_networks_as_their_logs_print_them(network: str, shared: Path, tmp_path: Path) -> None:
    tutorial, folder = shared / "real/vitis-tutorial-05-seg", FOLDERS.get(network, network)
    net = _placed(tutorial / "VAI" / folder / "float.prototxt", tmp_path)
    assert _count(net) == NEURONS[network]
    log = (tutorial / "logs/VAI" / folder / "quantize/quantize.txt").read_text(errors="replace")
    printed = re.findall(r"net\.cpp:\d+\] (\S+) does not need backward computation", log)[::-1]  # from the data on
    published = [name for name in printed if not name.endswith("_split")]
    assert len(published) > 60
    assert [layer.name for layer in net.layer][: len(published)] == published


@pytest.mark.nightly
@pytest.mark.parametrize("network", NEURONS)
def test_the_published_networks_quantize(
    network: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = shared / "real/vitis-tutorial-05-seg/VAI" / FOLDERS.get(network, network) / "float.prototxt"
    _save_seeded(deploy_net(path, size=(64, 128)).message, Path("net.caffemodel"))
    cv2.imwrite("a.png", np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8))
    done = quantize_net(path, "net.caffemodel", ["a.png"], "out", size=(64, 128))
    assert _count(done.message) == NEURONS[network]
    for layer in done.deployed.model.layer:
        if layer.type in ("Convolution", "Deconvolution", "InnerProduct"):
            assert len(layer.fixed_param.fix_info) == 8, layer.name
