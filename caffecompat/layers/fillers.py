"""How fresh blobs get their values: Caffe's fillers (BVLC filler.hpp)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError
from caffecompat.schema import pb

__all__ = ["DRAWN", "FillerError", "fill", "filler_types"]

DRAWN = frozenset({"uniform", "gaussian", "xavier", "msra", "positive_unitball"})  # types that fill by chance


class FillerError(CaffeCompatError):
    """A FillerParameter that Caffe would refuse, or that does not suit the blob."""


def filler_types() -> list[str]:
    """The known filler types, sorted."""
    return sorted(_fillers)


@torch.no_grad()
def fill(blob: Tensor, filler: pb.FillerParameter) -> Tensor:
    """Fill `blob` in place as a FillerParameter says, drawing from torch's default generator.

    Fans are Caffe's, whatever the layer: fan_in = count / shape[0] and fan_out = count / shape[1]
    (so a deconvolution's weight, stored (C_in, C_out / group, kh, kw), has them the other way round).

    Returns:
        `blob` itself.

    Raises:
        FillerError: unknown type, `sparse` elsewhere than gaussian, or a blob that the type cannot fill.
    """
    rule = _fillers.get(filler.type)
    if rule is None:
        raise FillerError(f"unknown filler type {filler.type!r}; known: {', '.join(filler_types())}")
    if filler.sparse != -1 and filler.type != "gaussian":
        raise FillerError(f"only the gaussian filler knows `sparse`, this one is {filler.type!r}")
    if blob.numel() == 0:
        raise FillerError(f"cannot fill a blob of shape {tuple(blob.shape)}: it holds no values")
    return rule(blob, filler)


def _constant(blob: Tensor, filler: pb.FillerParameter) -> Tensor:
    return blob.fill_(filler.value)


def _draw_uniform(blob: Tensor, low: float, high: float) -> Tensor:
    """Draw values; a blob on the meta device has none, and torch would load its compiler (2 s) to draw them."""
    return blob if blob.is_meta else blob.uniform_(low, high)


def _draw_normal(blob: Tensor, mean: float, std: float) -> Tensor:
    """The same from a normal distribution."""
    return blob if blob.is_meta else blob.normal_(mean, std)


def _uniform(blob: Tensor, filler: pb.FillerParameter) -> Tensor:
    if filler.min > filler.max:
        raise FillerError(f"uniform filler: min {filler.min:g} is above max {filler.max:g}")
    return _draw_uniform(blob, filler.min, filler.max)


def _gaussian(blob: Tensor, filler: pb.FillerParameter) -> Tensor:
    """Normal values; with `sparse` k each is kept with probability k / shape[0], about k inputs an output."""
    if filler.std < 0:
        raise FillerError(f"gaussian filler: std {filler.std:g} is negative")
    _draw_normal(blob, filler.mean, filler.std)
    if filler.sparse >= 0 and not blob.is_meta:
        outputs = blob.shape[0] if blob.dim() else 1
        blob.mul_(torch.empty_like(blob).bernoulli_(min(1.0, filler.sparse / outputs)))
    return blob


def _fan(blob: Tensor, filler: pb.FillerParameter) -> float:
    count = blob.numel()
    fan_in = count / (blob.shape[0] if blob.dim() else 1)
    fan_out = count / (blob.shape[1] if blob.dim() > 1 else 1)
    if filler.variance_norm == filler.FAN_OUT:
        return fan_out
    if filler.variance_norm == filler.AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_in


def _xavier(blob: Tensor, filler: pb.FillerParameter) -> Tensor:
    limit = math.sqrt(3 / _fan(blob, filler))
    return _draw_uniform(blob, -limit, limit)


def _msra(blob: Tensor, filler: pb.FillerParameter) -> Tensor:
    return _draw_normal(blob, 0, math.sqrt(2 / _fan(blob, filler)))


def _positive_unitball(blob: Tensor, filler: pb.FillerParameter) -> Tensor:
    """Positive values; each slice along the first axis sums to 1."""
    rows = _draw_uniform(blob, 0, 1).view(blob.shape[0] if blob.dim() else 1, -1)
    if not blob.is_meta:  # see `_draw_uniform`
        rows.div_(rows.sum(1, keepdim=True))
    return blob


def _bilinear(blob: Tensor, filler: pb.FillerParameter) -> Tensor:
    """Bilinear upsampling kernel in every slice of a (o, i, k, k) weight.

    It interpolates only where each channel has its own slice, i.e. a
    Deconvolution with group = num_output = channels.
    """
    if blob.dim() != 4 or blob.shape[2] != blob.shape[3]:
        raise FillerError(f"the bilinear filler needs a 4-d blob with a square kernel, this one is {tuple(blob.shape)}")
    size = blob.shape[3]
    factor = math.ceil(size / 2)
    center = (size - 1) / (2 * factor)
    ramp = 1 - (torch.arange(size, dtype=blob.dtype, device="cpu") / factor - center).abs()
    return blob.copy_(torch.outer(ramp, ramp))


def _diagonal(blob: Tensor, filler: pb.FillerParameter) -> Tensor:
    """FlowNet2's: output n takes input n alone, with diag_val n (1 where there are fewer) spread over its kernel."""
    if blob.dim() < 2:
        raise FillerError(f"the diagonal filler needs a blob of outputs and inputs, this one is {tuple(blob.shape)}")
    blob.zero_()
    area = blob[0, 0].numel()
    for n in range(min(blob.shape[:2])):
        blob[n, n] = (filler.diag_val[n] if n < len(filler.diag_val) else 1) / area
    return blob


_fillers: dict[str, Callable[[Tensor, pb.FillerParameter], Tensor]] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "xavier": _xavier,
    "msra": _msra,
    "positive_unitball": _positive_unitball,
    "bilinear": _bilinear,
    "diagonal": _diagonal,
}
