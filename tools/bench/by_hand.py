"""LeNet and ESPNet as a torch user would write them, to hold our graph against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ESPNet", "LeNet"]


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


class _Norm(nn.Module):
    def __init__(self, channels: int, relu: bool = True) -> None:
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(channels, momentum=0.001), relu

    def forward(self, blob: Tensor) -> Tensor:
        blob = self.norm(blob)
        return F.relu(blob, inplace=True) if self.relu else blob


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False)


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


def _half(blob: Tensor) -> Tensor:
    return F.avg_pool2d(blob, 3, 2, ceil_mode=True)


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
