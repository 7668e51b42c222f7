"""Networks as a torch user would write them, to hold our graph against: those for classification and ESPNet, ENet.

Each takes pictures (N, C, H, W). In training GoogLeNet returns the scores of its three classifiers, the others return
scores alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["VGG16", "AlexNet", "Cifar10Full", "ENet", "ESPNet", "GoogLeNet", "LeNet", "SqueezeNet"]


class LeNet(nn.Module):
    """Caffe's LeNet; takes (N, 1, 28, 28), returns class scores (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.ip1, self.ip2 = nn.Linear(800, 500), nn.Linear(500, 10)

    def forward(self, data: Tensor) -> Tensor:
        blob = F.max_pool2d(self.conv1(data), 2, 2, ceil_mode=True)
        blob = F.max_pool2d(self.conv2(blob), 2, 2, ceil_mode=True)
        scores: Tensor = self.ip2(F.relu(self.ip1(blob.flatten(1)), inplace=True))
        return scores


def _half_max(blob: Tensor) -> Tensor:
    return F.max_pool2d(blob, 3, 2, ceil_mode=True)


def _half(blob: Tensor) -> Tensor:
    return F.avg_pool2d(blob, 3, 2, ceil_mode=True)


class Cifar10Full(nn.Module):
    """Caffe's cifar10_full; takes (N, 3, 32, 32), returns class scores (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (nn.Conv2d(i, o, 5, padding=2) for i, o in ((3, 32), (32, 32), (32, 64)))
        self.ip1 = nn.Linear(1024, 10)

    def forward(self, data: Tensor) -> Tensor:
        blob = self._norm(F.relu(_half_max(self.conv1(data)), inplace=True))
        blob = self._norm(_half(F.relu(self.conv2(blob), inplace=True)))
        blob = _half(F.relu(self.conv3(blob), inplace=True))
        scores: Tensor = self.ip1(blob.flatten(1))
        return scores

    @staticmethod
    def _norm(blob: Tensor) -> Tensor:
        return blob / (F.avg_pool2d(blob.square(), 3, 1, 1) * 5e-5 + 1).pow(0.75)


class AlexNet(nn.Module):
    """BVLC's AlexNet, two groups in three of its convolutions; takes (N, 3, 227, 227), returns scores (N, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        relu, pool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True)
        norm = nn.LocalResponseNorm(5, 1e-4, 0.75, 1)
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 11, 4), relu, norm, pool,
            nn.Conv2d(96, 256, 5, padding=2, groups=2), relu, norm, pool,
            nn.Conv2d(256, 384, 3, padding=1), relu,
            nn.Conv2d(384, 384, 3, padding=1, groups=2), relu,
            nn.Conv2d(384, 256, 3, padding=1, groups=2), relu, pool, nn.Flatten(),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(9216, 4096), relu, nn.Dropout(),
            nn.Linear(4096, 4096), relu, nn.Dropout(), nn.Linear(4096, 1000),
        )  # fmt: skip

    def forward(self, data: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(data))
        return scores


class _ConvReLU(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)

    def forward(self, blob: Tensor) -> Tensor:
        return F.relu(self.conv(blob), inplace=True)


class _Fire(nn.Module):
    def __init__(self, inputs: int, few: int, each: int) -> None:
        super().__init__()
        self.squeeze = _ConvReLU(inputs, few)
        self.one, self.three = _ConvReLU(few, each), _ConvReLU(few, each, 3)

    def forward(self, blob: Tensor) -> Tensor:
        blob = self.squeeze(blob)
        return torch.cat((self.one(blob), self.three(blob)), 1)


class SqueezeNet(nn.Module):
    """SqueezeNet v1.1; takes (N, 3, H, W), returns class scores (N, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2), nn.ReLU(inplace=True), pool, _Fire(64, 16, 64), _Fire(128, 16, 64),
            pool, _Fire(128, 32, 128), _Fire(256, 32, 128), pool, _Fire(256, 48, 192), _Fire(384, 48, 192),
            _Fire(384, 64, 256), _Fire(512, 64, 256), nn.Dropout(), _ConvReLU(512, 1000),
        )  # fmt: skip

    def forward(self, data: Tensor) -> Tensor:
        scores: Tensor = self.features(data).mean((2, 3))
        return scores


class VGG16(nn.Module):
    """VGG's net of 16 layers; takes (N, 3, 224, 224), returns class scores (N, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        relu, layers, inputs = nn.ReLU(inplace=True), [], 3
        for depth, outputs in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
            for _ in range(depth):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), relu]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.classifier = nn.Sequential(
            nn.Linear(25088, 4096), relu, nn.Dropout(),
            nn.Linear(4096, 4096), relu, nn.Dropout(), nn.Linear(4096, 1000),
        )  # fmt: skip

    def forward(self, data: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(data))
        return scores


class _Inception(nn.Module):
    def __init__(self, inputs: int, one: int, before3: int, three: int, before5: int, five: int, pooled: int) -> None:
        super().__init__()
        self.one, self.pooled = _ConvReLU(inputs, one), _ConvReLU(inputs, pooled)
        self.three = nn.Sequential(_ConvReLU(inputs, before3), _ConvReLU(before3, three, 3))
        self.five = nn.Sequential(_ConvReLU(inputs, before5), _ConvReLU(before5, five, 5))

    def forward(self, blob: Tensor) -> Tensor:
        pooled = self.pooled(F.max_pool2d(blob, 3, 1, 1))
        return torch.cat((self.one(blob), self.three(blob), self.five(blob), pooled), 1)


def _auxiliary(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.AvgPool2d(5, 3, ceil_mode=True), _ConvReLU(inputs, 128), nn.Flatten(),
        nn.Linear(2048, 1024), nn.ReLU(inplace=True), nn.Dropout(0.7), nn.Linear(1024, 1000),
    )  # fmt: skip


class GoogLeNet(nn.Module):
    """GoogLeNet with its two classifiers at half the depth; takes (N, 3, 224, 224)."""

    def __init__(self) -> None:
        super().__init__()
        pool, norm = nn.MaxPool2d(3, 2, ceil_mode=True), nn.LocalResponseNorm(5, 1e-4, 0.75, 1)
        self.begin = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(inplace=True), pool, norm,
            _ConvReLU(64, 64), _ConvReLU(64, 192, 3), norm, pool,
            _Inception(192, 64, 96, 128, 16, 32, 32), _Inception(256, 128, 128, 192, 32, 96, 64), pool,
            _Inception(480, 192, 96, 208, 16, 48, 64),
        )  # fmt: skip
        self.middle = nn.Sequential(
            _Inception(512, 160, 112, 224, 24, 64, 64), _Inception(512, 128, 128, 256, 24, 64, 64),
            _Inception(512, 112, 144, 288, 32, 64, 64),
        )  # fmt: skip
        self.end = nn.Sequential(
            _Inception(528, 256, 160, 320, 32, 128, 128), pool, _Inception(832, 256, 160, 320, 32, 128, 128),
            _Inception(832, 384, 192, 384, 48, 128, 128), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Dropout(0.4), nn.Linear(1024, 1000),
        )  # fmt: skip
        self.first, self.second = _auxiliary(512), _auxiliary(528)

    def forward(self, data: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        begun = self.begin(data)
        half = self.middle(begun)
        scores: Tensor = self.end(half)
        return (scores, self.first(begun), self.second(half)) if self.training else scores


class _Norm(nn.Module):
    def __init__(self, channels: int, relu: bool = True) -> None:
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(channels, momentum=0.001), relu

    def forward(self, blob: Tensor) -> Tensor:
        blob = self.norm(blob)
        return F.relu(blob, inplace=True) if self.relu else blob


def _conv(
    inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, stride: int = 1, dilation: int = 1
) -> nn.Conv2d:
    high, wide = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    pad = (dilation * (high // 2), dilation * (wide // 2))
    return nn.Conv2d(inputs, outputs, (high, wide), stride, pad, dilation, bias=False)


class _Pyramid(nn.Module):
    def __init__(self, inputs: int, first: int, each: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.reduce = _conv(inputs, each, kernel, stride)
        self.first = _conv(each, first)
        self.dilated = nn.ModuleList(_conv(each, each, dilation=d) for d in (2, 4, 8, 16))

    def forward(self, blob: Tensor) -> Tensor:
        blob = self.reduce(blob)
        parts = [self.first(blob), self.dilated[0](blob)]
        for conv in list(self.dilated)[1:]:
            parts.append(parts[-1] + conv(blob))
        return torch.cat(parts, 1)


class _Block(nn.Module):
    def __init__(self, channels: int, first: int, each: int) -> None:
        super().__init__()
        self.pyramid, self.norm = _Pyramid(channels, first, each, 1), _Norm(channels)

    def forward(self, blob: Tensor) -> Tensor:
        normed: Tensor = self.norm(blob + self.pyramid(blob))
        return normed


class ESPNet(nn.Module):
    """The full ESPNet of models/espnet; takes (N, 3, H, W), returns class scores (N, classes, H, W)."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.start, self.norm1, self.norm2 = _conv(3, 16, stride=2), _Norm(16), _Norm(19)
        self.down2, self.norm3 = _Pyramid(19, 16, 12, 3, 2), _Norm(64)
        self.level2 = nn.Sequential(*(_Block(64, 16, 12) for _ in range(2)))
        self.norm6, self.skip = _Norm(131), _conv(131, classes, 1)
        self.down3, self.norm7 = _Pyramid(131, 28, 25, 3, 2), _Norm(128)
        self.level3 = nn.Sequential(*(_Block(128, 28, 25) for _ in range(8)))
        self.norm16, self.project, self.norm17 = _Norm(256), _conv(256, classes, 1), _Norm(classes, relu=False)
        self.up1 = nn.ConvTranspose2d(classes, classes, 2, 2, bias=False)
        self.norm18, self.pyramid, self.norm19 = _Norm(2 * classes), _Pyramid(2 * classes, 4, 4, 1), _Norm(20)
        self.up2, self.norm20 = nn.ConvTranspose2d(20, classes, 2, 2, bias=False), _Norm(classes)
        self.mix, self.norm21 = _conv(classes + 16, classes), _Norm(classes)
        self.up3 = nn.ConvTranspose2d(classes, classes, 2, 2, bias=False)

    def forward(self, data: Tensor) -> Tensor:
        half = self.norm1(self.start(data))
        first = self.norm3(self.down2(self.norm2(torch.cat((half, _half(data)), 1))))
        quarter = self.norm6(torch.cat((self.level2(first), first, _half(_half(data))), 1))
        first = self.norm7(self.down3(quarter))
        blob = self.norm16(torch.cat((first, self.level3(first)), 1))
        blob = self.up1(self.norm17(self.project(blob)))
        blob = self.norm19(self.pyramid(self.norm18(torch.cat((self.skip(quarter), blob), 1))))
        blob = self.norm20(self.up2(blob))
        scores: Tensor = self.up3(self.norm21(self.mix(torch.cat((blob, half), 1))))
        return scores


class _Bottleneck(nn.Module):
    def __init__(self, inner: int, outer: int, dilation: int = 1, asymmetric: bool = False) -> None:
        super().__init__()
        if asymmetric:
            inside = [_conv(inner, inner, (5, 1)), _Norm(inner), _conv(inner, inner, (1, 5))]
        else:
            inside = [_conv(inner, inner, dilation=dilation)]
        self.body = nn.Sequential(
            _conv(outer, inner, 1), _Norm(inner), *inside, _Norm(inner), _conv(inner, outer, 1), _Norm(outer)
        )

    def forward(self, blob: Tensor) -> Tensor:
        return F.relu(blob + self.body(blob), inplace=True)


class _Down(nn.Module):
    def __init__(self, inputs: int, inner: int, outer: int) -> None:
        super().__init__()
        self.skip = _conv(inputs, outer, 1)
        self.body = nn.Sequential(
            nn.Conv2d(inputs, inner, 2, 2, bias=False), _Norm(inner), _conv(inner, inner), _Norm(inner),
            _conv(inner, outer, 1), _Norm(outer),
        )  # fmt: skip

    def forward(self, blob: Tensor) -> Tensor:
        return F.relu(self.skip(_half_max(blob)) + self.body(blob), inplace=True)


class _Up(nn.Module):
    def __init__(self, inputs: int, inner: int, outer: int) -> None:
        super().__init__()
        self.skip = nn.Sequential(_conv(inputs, outer, 1), _Norm(outer, relu=False))
        self.body = nn.Sequential(
            _conv(inputs, inner, 1), _Norm(inner), nn.ConvTranspose2d(inner, inner, 2, 2), _Norm(inner),
            _conv(inner, outer, 1), _Norm(outer),
        )  # fmt: skip

    def forward(self, blob: Tensor) -> Tensor:
        skip = F.interpolate(self.skip(blob), scale_factor=2, mode="bilinear")
        return F.relu(skip + self.body(blob), inplace=True)


class ENet(nn.Module):
    """The full ENet of models/enet; takes (N, 3, H, W), returns class scores (N, classes, H, W)."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.start, self.norm = _conv(3, 13, stride=2), _Norm(16)
        repeated = [_Bottleneck(32, 128, dilation, dilation == 0) for dilation in 2 * (1, 2, 0, 4, 1, 8, 0, 16)]
        self.body = nn.Sequential(
            _Down(16, 16, 64), *(_Bottleneck(16, 64) for _ in range(4)), _Down(64, 32, 128), *repeated,
            _Up(128, 32, 64), _Bottleneck(16, 64), _Bottleneck(16, 64), _Up(64, 16, 16), _Bottleneck(4, 16),
            nn.ConvTranspose2d(16, classes, 2, 2),
        )  # fmt: skip

    def forward(self, data: Tensor) -> Tensor:
        scores: Tensor = self.body(self.norm(torch.cat((self.start(data), _half_max(data)), 1)))
        return scores
