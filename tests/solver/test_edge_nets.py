"""HED's and RCF's nets in little: their data layer, crops and balanced loss in one training run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from caffecompat.data import make_source
from caffecompat.forks import Fork
from caffecompat.net import Net
from caffecompat.schema import open_net, pb
from tests.data.batches import picture, write_picture

SIDE = 12


def edge_net(folder: Path, crop: str) -> str:
    """Two side outputs, one of them enlarged and cropped, and their fusion, each with a loss."""
    return f"""
    layer {{ name: "data" type: "ImageLabelmapData" top: "data" top: "label" transform_param {{ mean_value: 100 }}
             image_data_param {{ source: "{folder}/pairs.lst" root_folder: "{folder}/" batch_size: 1 }} }}
    layer {{ name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param {{
             num_output: 2 kernel_size: 3 pad: 5 weight_filler {{ type: "gaussian" std: 0.01 }} }} }}
    layer {{ name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param {{ kernel_size: 2 stride: 2 }} }}
    layer {{ name: "score1" type: "Convolution" bottom: "conv1" top: "score1" convolution_param {{
             num_output: 1 kernel_size: 1 weight_filler {{ type: "gaussian" std: 0.1 }} }} }}
    layer {{ name: "score2" type: "Convolution" bottom: "pool1" top: "score2" convolution_param {{
             num_output: 1 kernel_size: 1 weight_filler {{ type: "gaussian" std: 0.1 }} }} }}
    layer {{ name: "up2" type: "Deconvolution" bottom: "score2" top: "up2" param {{ lr_mult: 0 }} convolution_param {{
             num_output: 1 kernel_size: 4 stride: 2 bias_term: false weight_filler {{ type: "bilinear" }} }} }}
    layer {{ name: "crop" type: "{crop}" bottom: "score1" bottom: "data" top: "side1" }}
    layer {{ type: "SigmoidCrossEntropyLoss" bottom: "side1" bottom: "label" top: "loss1" loss_weight: 0.5 }}
    layer {{ name: "crop" type: "{crop}" bottom: "up2" bottom: "data" top: "side2" }}
    layer {{ type: "SigmoidCrossEntropyLoss" bottom: "side2" bottom: "label" top: "loss2" }}
    """


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    edges = np.zeros((SIDE, SIDE, 1), np.uint8)
    edges[3, 2:9], edges[5, 2:9] = 255, 60
    write_picture(tmp_path / "a.png", picture(SIDE, SIDE))
    write_picture(tmp_path / "e.png", edges)
    (tmp_path / "pairs.lst").write_text("a.png e.png\n")
    return tmp_path


def by_torch(net: Net, folder: Path, labels: torch.Tensor, factor: float) -> torch.Tensor:
    weights = {one.name: one.module for one in net.layers if one.type in ("Convolution", "Deconvolution")}

    def conv(name: str, x: torch.Tensor, **options: int) -> torch.Tensor:
        return F.conv2d(x, weights[name].weight, weights[name].bias, **options)

    pixels = picture(SIDE, SIDE).astype(np.float32) - 100
    first = conv("conv1", torch.from_numpy(pixels.transpose(2, 0, 1))[None], padding=5)
    side1 = conv("score1", first)[:, :, 4 : 4 + SIDE, 4 : 4 + SIDE]
    side2 = F.conv_transpose2d(conv("score2", F.max_pool2d(first, 2)), weights["up2"].weight, stride=2)
    side2 = side2[:, :, 5 : 5 + SIDE, 5 : 5 + SIDE]
    ones, zeros = labels == 1, labels == 0
    share = ones.sum() / (ones.sum() + zeros.sum())
    total = torch.zeros(())
    for side, weight in ((side1, 0.5), (side2, 1.0)):
        lost = (1 - share) * F.softplus(-side[ones]).sum() + factor * share * F.softplus(side[zeros]).sum()
        total = total + weight * lost
    return total


@pytest.mark.parametrize(
    ("crop", "fork", "factor", "doubts"), [("Crop", Fork.HED, 1, 0), ("AutoCrop", Fork.RCF, 1.1, 7)]
)
def test_loss_and_gradient(folder: Path, crop: str, fork: Fork, factor: float, doubts: int) -> None:
    path = folder / "train_val.prototxt"
    path.write_text(edge_net(folder, crop))
    document = open_net(path)
    assert document.fork is fork
    torch.manual_seed(3)
    net = Net(document, pb.TRAIN, sources=make_source, log=False)
    labels = torch.zeros(1, 1, SIDE, SIDE)
    labels[0, 0, 3, 2:9] = 1
    if fork is Fork.RCF:
        labels[0, 0, 5, 2:9] = 60 / 255  # neither an edge nor none
    assert int(((labels != 0) & (labels != 1)).sum()) == doubts
    loss = net.loss(net.forward())
    loss.backward()
    made = {(p.layer, p.index): p.blob.grad.clone() for p in net.params if p.blob.grad is not None}
    for param in net.params:
        param.blob.grad = None
    want = by_torch(net, folder, labels, factor)
    want.backward()
    net.close()
    assert math.isclose(float(loss.detach()), float(want.detach()), rel_tol=1e-5)
    for param in net.params:
        if (param.layer, param.index) in made:
            torch.testing.assert_close(made[param.layer, param.index], param.blob.grad, rtol=1e-4, atol=1e-5)
    assert len(made) >= 6
