"""ResNets with torchvision's module names, and the same nets as prototxts with the layer names of several sources."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

DEPTHS = {34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut; `expansion` times `planes` channels leave."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _downsample(inputs, planes, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.downsample(x)).relu()


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.downsample = _downsample(inputs, planes * 4, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn3(self.conv3(self.bn2(self.conv2(y)).relu()))
        return (y + self.downsample(x)).relu()


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """torchvision's, with random weights and statistics; `width` channels leave the first convolution (64 there)."""

    def __init__(self, depth: int, width: int = 64, classes: int = 1000) -> None:
        super().__init__()
        block = Basic if depth == 34 else Bottleneck
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage, blocks in enumerate(DEPTHS[depth]):
            planes = width << stage
            made = []
            for index in range(blocks):
                made.append(block(inputs, planes, 2 if stage and not index else 1))
                inputs = planes * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*made))
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                    nn.init.uniform_(values, 0.3, 0.9)
        self.eval()

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x).mean((2, 3)))


def _original(stage: int, block: int, part: str) -> str:
    return f"res{stage + 2}{chr(97 + block)}_branch" + ("1" if part == "s" else f"2{chr(96 + int(part))}")


def _expand(stage: int, block: int, part: str) -> str:
    return f"layer_{stage}_{block}_conv{'_expand' if part == 's' else part}"


def _numbered(stage: int, block: int, part: str) -> str:
    return f"Conv_{(stage * 30 + block) * 4 + (4 if part == 's' else int(part))}"


# A convolution's name by stage, block and part: "1" to "3" on the long way, "s" on the short one.
NAMES: dict[str, Callable[[int, int, str], str]] = {"original": _original, "expand": _expand, "numbered": _numbered}


def prototxt(
    depth: int,
    width: int = 64,
    classes: int = 1000,
    *,
    names: str = "original",
    shortcut_first: bool = True,
    channels: int = 3,
    size: int = 33,
) -> str:
    """The net for a picture of `size`, of BatchNorm with Scale; its pooling is torch's where 4 divides `size` - 1."""
    name = NAMES[names]
    first = Basic.expansion if depth == 34 else Bottleneck.expansion
    lines = [
        f'layer {{ name: "data" type: "Input" top: "data" '
        f"input_param {{ shape {{ dim: 2 dim: {channels} dim: {size} dim: {size} }} }} }}"
    ]

    def conv(own: str, bottom: str, outputs: int, kernel: int, stride: int = 1, *, relu: bool = True) -> str:
        lines.append(
            f'layer {{ name: "{own}" type: "Convolution" bottom: "{bottom}" top: "{own}" convolution_param {{ '
            f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {kernel // 2} bias_term: false }} }}\n"
            f'layer {{ name: "bn_{own}" type: "BatchNorm" bottom: "{own}" top: "{own}" }}\n'
            f'layer {{ name: "scale_{own}" type: "Scale" bottom: "{own}" top: "{own}" '
            "scale_param { bias_term: true } }"
        )
        if relu:
            lines.append(f'layer {{ name: "{own}_relu" type: "ReLU" bottom: "{own}" top: "{own}" }}')
        return own

    x = conv("conv1", "data", width, 7, 2)
    lines.append(
        'layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" '
        "pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 } }"
    )
    x, inputs = "pool1", width
    for stage, blocks in enumerate(DEPTHS[depth]):
        planes = width << stage
        for block in range(blocks):
            stride, outputs = (2 if stage and not block else 1), planes * first
            shape = [(3, stride), (3, 1)] if depth == 34 else [(1, 1), (3, stride), (1, 1)]

            def part(which: str, stage: int = stage, block: int = block) -> str:
                return name(stage, block, which)

            short = y = x
            if (inputs, 1) != (outputs, stride) and shortcut_first:
                short = conv(part("s"), x, outputs, 1, stride, relu=False)
            for at, (kernel, step) in enumerate(shape, 1):
                last = at == len(shape)
                y = conv(part(str(at)), y, outputs if last else planes, kernel, step, relu=not last)
            if (inputs, 1) != (outputs, stride) and not shortcut_first:
                short = conv(part("s"), x, outputs, 1, stride, relu=False)
            x, inputs = f"sum_{stage}_{block}", outputs
            lines.append(f'layer {{ name: "{x}" type: "Eltwise" bottom: "{short}" bottom: "{y}" top: "{x}" }}')
            lines.append(f'layer {{ name: "{x}_relu" type: "ReLU" bottom: "{x}" top: "{x}" }}')
    lines.append(
        f'layer {{ name: "pool5" type: "Pooling" bottom: "{x}" top: "pool5" '
        "pooling_param { pool: AVE global_pooling: true } }"
    )
    lines.append(
        'layer { name: "score" type: "InnerProduct" bottom: "pool5" top: "score" '
        f"inner_product_param {{ num_output: {classes} }} }}"
    )
    return "\n".join(lines)
