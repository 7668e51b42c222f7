"""DenseNet-121 as its public prototxt has it, with ``ceil_mode: false``, against torch's functions layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.net import Net
from tests.net.nets import make_net

BLOCKS = (6, 12, 24, 16)
GROWTH, SIDE = 32, 224
Blobs = dict[str, list[np.ndarray]]


def unit(name: str, bottom: str) -> str:
    """BatchNorm, Scale and ReLU under one blob."""
    norm = f"{name}/bn"
    return f"""
    layer {{ name: "{norm}" type: "BatchNorm" bottom: "{bottom}" top: "{norm}" batch_norm_param {{ eps: 1e-5 }} }}
    layer {{ name: "{name}/scale" type: "Scale" bottom: "{norm}" top: "{norm}" scale_param {{ bias_term: true }} }}
    layer {{ name: "relu/{name}" type: "ReLU" bottom: "{norm}" top: "{norm}" }}"""


def convolution(name: str, bottom: str, outputs: int, more: str) -> str:
    return f"""
    layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"
             convolution_param {{ num_output: {outputs} bias_term: false {more} }} }}"""


def pooling(name: str, bottom: str, more: str) -> str:
    return f"""
    layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}" pooling_param {{ {more} }} }}"""


def densenet(rounding: str) -> str:
    """The prototxt; `rounding` is the setting of its first pooling."""
    text = f'name: "DENSENET_121" input: "data" input_dim: 1 input_dim: 3 input_dim: {SIDE} input_dim: {SIDE}'
    text += convolution("conv1", "data", 64, "pad: 3 kernel_size: 7 stride: 2") + unit("conv1", "conv1")
    text += pooling("pool1", "conv1/bn", f"pool: MAX kernel_size: 3 stride: 2 pad: 1 {rounding}")
    blob, channels = "pool1", 64
    for stage, depth in enumerate(BLOCKS, 2):
        for index in range(1, depth + 1):
            name = f"conv{stage}_{index}"
            text += unit(f"{name}/x1", blob) + convolution(f"{name}/x1", f"{name}/x1/bn", 4 * GROWTH, "kernel_size: 1")
            text += unit(f"{name}/x2", f"{name}/x1")
            text += convolution(f"{name}/x2", f"{name}/x2/bn", GROWTH, "pad: 1 kernel_size: 3")
            joined = f"concat_{stage}_{index}"
            text += f"""
    layer {{ name: "{joined}" type: "Concat" bottom: "{blob}" bottom: "{name}/x2" top: "{joined}" }}"""
            blob, channels = joined, channels + GROWTH
        text += unit(f"conv{stage}_blk", blob)
        blob = f"conv{stage}_blk/bn"
        if stage < 5:
            channels //= 2
            text += convolution(f"conv{stage}_blk", blob, channels, "kernel_size: 1")
            text += pooling(f"pool{stage}", f"conv{stage}_blk", "pool: AVE kernel_size: 2 stride: 2")
            blob = f"pool{stage}"
    text += pooling("pool5", blob, "pool: AVE global_pooling: true")
    return (
        text
        + """
    layer { name: "fc6" type: "Convolution" bottom: "pool5" top: "fc6"
            convolution_param { num_output: 1000 kernel_size: 1 } }"""
    )


def fill(net: Net) -> None:
    """Seeded weights that keep values of all layers within reach of each other."""
    random = torch.Generator().manual_seed(4)
    for layer in net.layers:
        for slot in layer.slots:
            values = slot.tensor()
            if layer.type == "Convolution" and values.dim() == 4:
                values.normal_(0, (2 / values[0].numel()) ** 0.5, generator=random)
            else:
                values.uniform_(0.5, 1.5, generator=random)


def by_torch(blobs: Blobs, picture: Tensor) -> Tensor:
    """DenseNet-121 as its authors draw it, from blobs by the prototxt's names."""

    def stored(name: str) -> list[Tensor]:
        return [torch.from_numpy(np.array(blob)) for blob in blobs[name]]

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance, count = stored(f"{name}/bn")
        scale, bias = stored(f"{name}/scale")
        return F.relu(F.batch_norm(x, mean / count, variance / count, scale, bias, eps=1e-5))

    x = F.conv2d(picture, stored("conv1")[0], stride=2, padding=3)
    x = F.max_pool2d(norm("conv1", x), 3, 2, 1)
    for stage, depth in enumerate(BLOCKS, 2):
        for index in range(1, depth + 1):
            name = f"conv{stage}_{index}"
            new = F.conv2d(norm(f"{name}/x1", x), stored(f"{name}/x1")[0])
            new = F.conv2d(norm(f"{name}/x2", new), stored(f"{name}/x2")[0], padding=1)
            x = torch.cat([x, new], 1)
        x = norm(f"conv{stage}_blk", x)
        if stage < 5:
            x = F.avg_pool2d(F.conv2d(x, stored(f"conv{stage}_blk")[0]), 2)
    weight, bias = stored("fc6")
    return F.conv2d(x.mean((2, 3), keepdim=True), weight, bias)


@pytest.mark.parametrize("rounding", ["ceil_mode: false", "round_mode: FLOOR"])
@torch.no_grad()
def test_densenet_121(rounding: str) -> None:
    net = make_net(densenet(rounding))
    assert net.blob_shapes["pool1"] == (1, 64, 56, 56) and net.blob_shapes["concat_5_16"] == (1, 1024, 7, 7)
    fill(net)
    picture = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    want = by_torch(net.blobs_by_layer(), picture)
    got = net.forward({"data": picture})["fc6"]
    assert (got - want).abs().max() < 1e-4 * want.abs().max()
