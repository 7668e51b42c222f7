"""DDRNet-23 in torch, with the module names of the authors' code; the stem without bias, corners kept at corners."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Classifier", "Segmenter"]


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]


def _down(*channels: int) -> nn.Sequential:
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        modules += [*_conv_norm(inputs, outputs, 3, 2), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


class _Block(nn.Module):
    """Convolutions beside a shortcut; the last ReLU only with `active`."""

    def __init__(
        self, inputs: int, channels: Sequence[int], kernels: Sequence[int], stride: int, active: bool, wide: bool
    ) -> None:
        super().__init__()
        self.count, self.active = len(kernels), active
        before = inputs
        for number, (outputs, kernel) in enumerate(zip(channels, kernels, strict=True), 1):
            strided = stride if kernel == 3 and (wide or number == 1) else 1
            conv, norm = _conv_norm(before, outputs, kernel, strided)
            setattr(self, f"conv{number}", conv)
            setattr(self, f"bn{number}", norm)
            before = outputs
        same = stride == 1 and inputs == before
        self.downsample = nn.Identity() if same else nn.Sequential(*_conv_norm(inputs, before, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = y.relu() if number < self.count else y
        y = y + self.downsample(x)
        return y.relu() if self.active else y


def _layer(inputs: int, channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        _Block(inputs, (channels, channels), (3, 3), stride, True, False),
        _Block(channels, (channels, channels), (3, 3), 1, False, False),
    )


def _bottleneck(inputs: int, channels: int, stride: int, active: bool) -> nn.Sequential:
    return nn.Sequential(_Block(inputs, (channels, channels, 2 * channels), (1, 3, 1), stride, active, True))


class _Branches(nn.Module):
    def __init__(self, planes: int, active: bool, stride: int) -> None:
        super().__init__()
        first, second = _conv_norm(3, planes, 3, 2), _conv_norm(planes, planes, 3, 2)
        self.conv1 = nn.Sequential(*first, nn.ReLU(), *second, nn.ReLU())
        self.layer1 = _layer(planes, planes)
        self.layer2 = _layer(planes, 2 * planes, 2)
        self.layer3 = _layer(2 * planes, 4 * planes, 2)
        self.layer4 = _layer(4 * planes, 8 * planes, 2)
        self.compression3 = nn.Sequential(*_conv_norm(4 * planes, 2 * planes, 1))
        self.compression4 = nn.Sequential(*_conv_norm(8 * planes, 2 * planes, 1))
        self.down3 = _down(2 * planes, 4 * planes)
        self.down4 = _down(2 * planes, 4 * planes, 8 * planes)
        self.layer3_ = _layer(2 * planes, 2 * planes)
        self.layer4_ = _layer(2 * planes, 2 * planes)
        self.layer5_ = _bottleneck(2 * planes, 2 * planes, 1, active)
        self.layer5 = _bottleneck(8 * planes, 8 * planes, stride, active)

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.layer2(self.layer1(self.conv1(x)).relu()).relu()
        low, high = self.layer3(x), self.layer3_(x)
        low, high = low + self.down3(high.relu()), high + _resized(self.compression3(low.relu()), high)
        low, high = self.layer4(low.relu()), self.layer4_(high.relu())
        low, high = low + self.down4(high.relu()), high + _resized(self.compression4(low.relu()), high)
        return self.layer5(low.relu()), self.layer5_(high.relu())


class Classifier(_Branches):
    def __init__(self, planes: int, last: int, classes: int) -> None:
        super().__init__(planes, active=True, stride=1)
        self.down5 = _down(4 * planes, 8 * planes, 16 * planes)
        self.last_layer = nn.Sequential(*_conv_norm(16 * planes, last, 1), nn.ReLU())
        self.linear = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        low, high = self.branches(x)
        return self.linear(self.last_layer((low + self.down5(high)).relu()).mean((2, 3)))


def _norm_conv(inputs: int, outputs: int, kernel: int = 1, pool: nn.Module | None = None) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(*([pool] if pool else []), nn.BatchNorm2d(inputs), nn.ReLU(), conv)


class _Pyramid(nn.Module):
    def __init__(self, inputs: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.scale0 = _norm_conv(inputs, channels)
        for number, size in enumerate((2, 4, 8), 1):
            setattr(self, f"scale{number}", _norm_conv(inputs, channels, pool=nn.AvgPool2d(2 * size + 1, size, size)))
        self.scale4 = _norm_conv(inputs, channels, pool=nn.AdaptiveAvgPool2d(1))
        for number in range(1, 5):
            setattr(self, f"process{number}", _norm_conv(channels, channels, 3))
        self.compression = _norm_conv(5 * channels, outputs)
        self.shortcut = _norm_conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.scale0(x)]
        for number in range(1, 5):
            scaled = _resized(getattr(self, f"scale{number}")(x), x)
            parts.append(getattr(self, f"process{number}")(scaled + parts[-1]))
        return self.compression(torch.cat(parts, 1)) + self.shortcut(x)


class _Head(nn.Module):
    def __init__(self, inputs: int, channels: int, classes: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.bn2(self.conv1(self.bn1(x).relu())).relu())


class Segmenter(_Branches):
    def __init__(self, planes: int, pyramid: int, head: int, classes: int) -> None:
        super().__init__(planes, active=False, stride=2)
        self.spp = _Pyramid(16 * planes, pyramid, 4 * planes)
        self.final_layer = _Head(4 * planes, head, classes)

    def forward(self, x: Tensor) -> Tensor:
        low, high = self.branches(x)
        return _resized(self.final_layer(_resized(self.spp(low), high) + high), x)
