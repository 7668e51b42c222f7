"""Normalizations: by the statistics of the batch, of each item, and by the squares around a value."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "local_response_norm",
    "local_response_norm_within",
    "mean_variance_norm",
    "normalize_by_batch",
    "normalize_by_batch_exactly",
]


def normalize_by_batch(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """(N, C, ...) by its own statistics of each channel, times weight (C) plus bias (C); the mean; the biased variance.

    Mean and variance are (1, C, 1, ...). Gradients flow through the first alone. A variance of one value is 0.
    """
    channels, count = x.shape[1], x.numel() // x.shape[1]
    shape = (1, channels, *[1] * (x.dim() - 2))
    # With momentum 1 torch leaves the batch's mean and unbiased variance in the buffers it is given.
    like = x if weight is None else weight
    mean, variance = like.new_zeros(channels), like.new_zeros(channels)
    if count > 1:
        made = F.batch_norm(x, mean, variance, weight, bias, True, 1.0, eps)
        return made, mean.view(shape), (variance * ((count - 1) / count)).view(shape)
    made = F.batch_norm(x - x, mean, variance, weight, bias, eps=eps)  # torch refuses to train on one value
    return made, x.detach().reshape(shape), variance.view(shape)


def normalize_by_batch_exactly(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """What `normalize_by_batch` gives, in two passes over the values.

    torch's fused kernel adds up in one running float: of the published ENet picture, 88 such layers
    over 524288 pixels, 6 pixels come out otherwise; sums in blocks, as here, give all of them.
    """
    axes = [axis for axis in range(x.dim()) if axis != 1]
    mean = x.mean(axes, keepdim=True)
    made = x - mean
    variance = made.square().mean(axes, keepdim=True)
    made = made * (variance + eps).rsqrt()
    if weight is not None and bias is not None:
        made = torch.addcmul(bias.view_as(mean), made, weight.view_as(mean))
    return made, mean.detach(), variance.detach()


def local_response_norm(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """x (N, C, H, W) times (k + alpha / size x sum of squares over `size` channels)^-beta."""
    # A 1x1 convolution by a band matrix: 3 times faster than pooling along the channels, in either memory format.
    squares, channels = x.square(), x.shape[1]
    band = squares.new_full((channels, channels), alpha / size).triu(-(size // 2)).tril(size // 2)
    return x * F.conv2d(squares, band[:, :, None, None], squares.new_full((channels,), k)).pow(-beta)


def local_response_norm_within(x: Tensor, size: int, alpha: float, beta: float) -> Tensor:
    """x (N, C, H, W) times (1 + alpha x mean of squares over size x size pixels of a channel)^-beta, zeros around."""
    return x * (F.avg_pool2d(x.square(), size, 1, size // 2) * alpha + 1).pow(-beta)


def mean_variance_norm(x: Tensor, whole_item: bool = False, divide: bool = True, eps: float = 1e-9) -> Tensor:
    """(N, C, ...) minus its mean and, with divide, over (standard deviation + eps), of each channel or whole item.

    A channel of a single value is its own mean. The gradient where all values are equal is 0, as in Caffe.
    """
    axes = list(range(1 if whole_item else 2, x.dim()))
    if not axes:
        return x - x
    centered = x - x.mean(axes, keepdim=True)
    if not divide:
        return centered
    variance = centered.square().mean(axes, keepdim=True)
    flat = variance == 0  # where autograd's gradient of the root would be infinite
    deviation = torch.where(flat, 1, variance).sqrt().masked_fill(flat, 0)
    return centered / (deviation + eps)
