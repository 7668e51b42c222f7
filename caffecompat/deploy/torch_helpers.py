"""Pieces of Caffe that torch has no module for, written into exported files as they stand here.

Each stands on torch alone, and on the pieces named in ``NEEDS``; nothing else of this package may be used.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "NEEDS",
    "BatchStatisticsNorm",
    "ChannelAffine",
    "DetectionOutput",
    "L2Norm",
    "MaskedUnpool",
    "MeanVarianceNorm",
    "RaggedAvgPool2d",
    "WithinChannelNorm",
    "arg_max",
    "decode_boxes",
    "jaccard",
    "non_maximum_suppression",
]

NEEDS = {"DetectionOutput": ("decode_boxes", "non_maximum_suppression", "jaccard")}


class ChannelAffine(nn.Module):
    """x * weight + bias over some axes; a missing weight is 1, a missing bias 0."""

    def __init__(self, shape: tuple[int, ...], weight: bool = True, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape)) if weight else None
        self.bias = nn.Parameter(torch.zeros(shape)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is not None and self.bias is not None:
            return torch.addcmul(self.bias, x, self.weight)
        x = x if self.weight is None else x * self.weight
        return x if self.bias is None else x + self.bias


class BatchStatisticsNorm(nn.Module):
    """Batch normalization by the batch's own statistics, at inference too; (N, C, ...)."""

    def __init__(self, channels: int, eps: float, affine: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        x = x - x.mean(axes, keepdim=True)
        x = x * (x.square().mean(axes, keepdim=True) + self.eps).rsqrt()
        if self.weight is None or self.bias is None:
            return x
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return torch.addcmul(self.bias.view(shape), x, self.weight.view(shape))


class RaggedAvgPool2d(nn.Module):
    """Means over windows that may hang off the edge: the pad counts as zeros, what lies beyond it not at all.

    margins are those of F.pad that make the windows fit; limits (h, w) are where the pad behind ends.
    """

    def __init__(
        self,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        pad: tuple[int, int],
        margins: tuple[int, int, int, int],
        limits: tuple[int, int],
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.pad, self.margins, self.limits = kernel, stride, pad, margins, limits

    def forward(self, x: Tensor) -> Tensor:
        sums = F.avg_pool2d(F.pad(x, self.margins), self.kernel, self.stride, divisor_override=1)
        lengths = []
        for axis in range(2):
            starts = torch.arange(sums.shape[2 + axis], device=x.device) * self.stride[axis] - self.pad[axis]
            lengths.append((starts + self.kernel[axis]).clamp(max=self.limits[axis]) - starts)
        return sums / torch.outer(lengths[0], lengths[1]).to(x.dtype)


class L2Norm(nn.Module):
    """x / sqrt(sum of x^2 + eps) times a weight; the sum is over the channels, or over the whole item."""

    def __init__(self, channels: int, eps: float, whole_item: bool, shared: bool) -> None:
        super().__init__()
        self.eps, self.whole_item = eps, whole_item
        self.weight = nn.Parameter(torch.ones(() if shared else (channels,)))

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(1, x.dim())) if self.whole_item else (1,)
        weight = self.weight if self.weight.dim() == 0 else self.weight.view(-1, *[1] * (x.dim() - 2))
        return x / (x.square().sum(axes, keepdim=True) + self.eps).sqrt() * weight


class WithinChannelNorm(nn.Module):
    """Local response normalization over size x size pixels of each channel."""

    def __init__(self, size: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        return x * (F.avg_pool2d(x.square(), self.size, 1, self.size // 2) * self.alpha + 1).pow(-self.beta)


class MeanVarianceNorm(nn.Module):
    """Subtract the mean and, if asked for, divide by standard deviation + eps; of each plane or each whole item."""

    def __init__(self, whole_item: bool, divide: bool, eps: float) -> None:
        super().__init__()
        self.whole_item, self.divide, self.eps = whole_item, divide, eps

    def forward(self, x: Tensor) -> Tensor:
        axes = list(range(1 if self.whole_item else 2, x.dim()))
        x = x - x.mean(axes, keepdim=True)
        return x / (x.square().mean(axes, keepdim=True).sqrt() + self.eps) if self.divide else x


class MaskedUnpool(nn.Module):
    """Put each value where max pooling found it, in a plane of size (h, w); zeros elsewhere."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        n, c = x.shape[:2]
        plane = x.new_zeros(n, c, self.size[0] * self.size[1])
        plane = plane.scatter(2, places.reshape(n, c, -1).long(), x.reshape(n, c, -1))
        return plane.view(n, c, *self.size)


def arg_max(x: Tensor, axis: int) -> Tensor:
    """Index, as a float, of the greatest value along an axis, which stays; of equal ones the last."""
    return (x.shape[axis] - 1 - x.flip(axis).argmax(axis, keepdim=True)).to(x.dtype)


def decode_boxes(code: str, priors: Tensor, codes: Tensor) -> Tensor:
    """The corners (..., 4) that codes, already multiplied by the variances, mean at the priors."""
    if code == "CORNER":
        return priors + codes
    size = priors[..., 2:] - priors[..., :2]
    if code == "CORNER_SIZE":
        return priors + codes * torch.cat([size, size], -1)
    centre = codes[..., :2] * size + (priors[..., :2] + priors[..., 2:]) / 2
    half = codes[..., 2:].exp() * size / 2
    return torch.cat([centre - half, centre + half], -1)


def jaccard(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes, broadcast; 0 where they do not meet."""
    width = (torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    height = (torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])).clamp(min=0)
    shared = width * height
    size_a = (a[..., 2] - a[..., 0]).clamp(min=0) * (a[..., 3] - a[..., 1]).clamp(min=0)
    size_b = (b[..., 2] - b[..., 0]).clamp(min=0) * (b[..., 3] - b[..., 1]).clamp(min=0)
    return shared / (size_a + size_b - shared).clamp(min=torch.finfo(shared.dtype).tiny)


def non_maximum_suppression(boxes: Tensor, threshold: float, eta: float) -> list[int]:
    """Which of the boxes, in order of falling score, stay; the threshold shrinks by eta while it is above 0.5."""
    overlap = jaccard(boxes[:, None], boxes[None])
    kept: list[int] = []
    for index in range(len(boxes)):
        if not kept or float(overlap[kept, index].max()) <= threshold:
            kept.append(index)
            if eta < 1 and threshold > 0.5:
                threshold *= eta
    return kept


class DetectionOutput(nn.Module):
    """SSD's boxes: (1, 1, K, 7) rows [image, class, score, xmin, ymin, xmax, ymax], or -1 in all but the first.

    Takes locations (N, P * L * 4), class probabilities (N, P * C) and priors (1, 2, P * 4).
    """

    def __init__(
        self,
        classes: int,
        background: int,
        shared_locations: bool,
        code: str,
        variance_in_target: bool,
        threshold: float,
        top_k: int,
        keep_top_k: int,
        nms_threshold: float,
        eta: float,
    ) -> None:
        super().__init__()
        self.classes, self.background, self.shared_locations = classes, background, shared_locations
        self.code, self.variance_in_target = code, variance_in_target
        self.threshold, self.top_k, self.keep_top_k = threshold, top_k, keep_top_k
        self.nms_threshold, self.eta = nms_threshold, eta

    def forward(self, locations: Tensor, scores: Tensor, priors: Tensor) -> Tensor:
        images = locations.shape[0]
        boxes, variances = priors.reshape(2, -1, 1, 4)
        locations = locations.reshape(images, len(boxes), -1, 4)
        scores = scores.reshape(images, len(boxes), self.classes)
        codes = locations if self.variance_in_target else locations * variances
        found = decode_boxes(self.code, boxes, codes)
        rows = [row for image in range(images) for row in self.of_image(image, found[image], scores[image])]
        if not rows:
            nothing = scores.new_full((images, 7), -1)
            nothing[:, 0] = torch.arange(images)
            return nothing[None, None]
        return torch.cat(rows)[None, None]

    def of_image(self, image: int, boxes: Tensor, scores: Tensor) -> list[Tensor]:
        rows = []
        for label in range(self.classes):
            if label == self.background:
                continue
            mine = scores[:, label]
            prior = (mine > self.threshold).nonzero()[:, 0]
            prior = prior[mine[prior].argsort(descending=True, stable=True)]
            prior = prior[: self.top_k] if self.top_k >= 0 else prior
            own = boxes[prior, 0 if self.shared_locations else label]
            kept = non_maximum_suppression(own, self.nms_threshold, self.eta)
            head = torch.tensor([image, label], dtype=own.dtype, device=own.device).expand(len(kept), 2)
            rows.append(torch.cat([head, mine[prior[kept], None], own[kept]], 1))
        every = torch.cat(rows)
        if 0 <= self.keep_top_k < len(every):
            best = every[:, 2].argsort(descending=True, stable=True)[: self.keep_top_k]
            every = every[best.sort()[0]]
        return [every] if len(every) else []
