"""Blobs of batch normalization in the arrangements of the forks, and from each into each.

Which arrangement a file has shows in the count of its blobs and in which of them has one element (all others have one
value a channel, as (C) or (1, C, 1, 1)). Rules of the forks' own loaders, put together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from caffecompat.layers.layer import LayerError

__all__ = ["LAYOUTS", "WITH_SUMS", "affine_by_statistics", "arrange", "statistics"]

# Names of the blobs in the order of each arrangement.
LAYOUTS = {
    "bvlc": ("mean", "variance", "factor"),
    "intel affine": ("mean", "variance", "factor", "scale", "bias"),
    "xilinx": ("scale", "bias", "mean", "variance", "unused"),
    "nvcaffe": ("mean", "variance", "factor"),
    "nvcaffe affine": ("mean", "variance", "factor", "scale", "bias"),
    "pspnet": ("scale", "bias", "mean", "variance"),
}

WITH_SUMS = ("bvlc", "intel affine")
"""Arrangements whose statistics are sums, to be divided by the factor."""

Parts = dict[str, np.ndarray]


def arrange(blobs: list[np.ndarray], layout: str, channels: int) -> list[np.ndarray]:
    """Bring blobs of any arrangement with statistics into that of `layout`, each (C) or (1).

    Other blobs come back as they are.

    Raises:
        LayerError: the file has a scale and bias that `layout` has no place for.
    """
    parts = _parts(blobs, layout, channels)
    if parts is None:
        return blobs
    names = LAYOUTS[layout]
    if "scale" not in names and not (np.all(parts["scale"] == 1) and np.all(parts["bias"] == 0)):
        raise LayerError(
            "the file's BatchNorm has a scale and bias; give this one scale_filler and bias_filler to keep them, "
            "or a Scale layer after it"
        )
    # With a factor of 0 BVLC has seen no batch, unless there are statistics: then NVCaffe 0.16 wrote them.
    if layout not in WITH_SUMS or (parts["factor"][0] == 0 and (parts["mean"].any() or parts["variance"].any())):
        parts = _divided(parts)
    return [parts[name] for name in names]


def statistics(blobs: list[np.ndarray], layout: str, channels: int) -> Parts | None:
    """The blobs by name ("scale", "bias", "mean", "variance"), BVLC's sums divided by their factor.

    Without a scale and bias these are 1 and 0. None where the blobs are of no arrangement with statistics.

    Args:
        layout: of the layer they are meant for, which decides where one channel leaves two readings.
    """
    parts = _parts(blobs, layout, channels)
    return None if parts is None else _divided(parts)


def _parts(blobs: Sequence[np.ndarray], layout: str, channels: int) -> Parts | None:
    flat = [np.asarray(blob).reshape(-1) for blob in blobs]
    sizes = [blob.size for blob in flat]
    stored: tuple[str, ...]
    if sizes == [channels, channels, 1]:
        stored = LAYOUTS["bvlc"]
    elif sizes == [channels] * 4:
        stored = LAYOUTS["pspnet"]  # and Xilinx' without its last
    elif sizes == [channels] * 4 + [1] and not (channels == 1 and _single_channel_is_nvcaffe(flat, layout)):
        stored = LAYOUTS["xilinx"]
    elif sizes == [channels, channels, 1, channels, channels]:
        stored = LAYOUTS["nvcaffe affine"]
    else:
        return None
    one, zero = np.ones(1, flat[0].dtype), np.zeros(1, flat[0].dtype)
    defaults = {"scale": one.repeat(channels), "bias": zero.repeat(channels), "factor": one, "unused": zero}
    return defaults | dict(zip(stored, flat, strict=True))


def _single_channel_is_nvcaffe(flat: list[np.ndarray], layout: str) -> bool:
    """With one channel all five blobs have one element; NVCaffe's third is 0 or 1, Xilinx' fifth is."""
    third, fifth = (blob[0] in (0, 1) for blob in (flat[2], flat[4]))
    return layout.startswith(("nvcaffe", "intel")) if third == fifth else third


def _divided(parts: Parts) -> Parts:
    """BVLC's sums as statistics; a factor of 0, as NVCaffe 0.16 stores it, means 1."""
    factor = parts["factor"][0]
    if factor in (0, 1):
        return parts | {"factor": np.ones_like(parts["factor"])}
    return parts | {
        "mean": parts["mean"] / factor,
        "variance": parts["variance"] / factor,
        "factor": np.ones_like(parts["factor"]),
    }


def affine_by_statistics(parts: Mapping[str, np.ndarray], are_sums: bool, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """a and b of (x - mean) / sqrt(variance + eps) scale + bias = a x + b.

    Args:
        parts: mean and variance (C), or their sums and the factor to divide them by; scale and bias where there are.
    """
    mean, variance = parts["mean"], parts["variance"]
    if are_sums:
        factor = parts["factor"][0]
        mean, variance = (mean / factor, variance / factor) if factor else (mean * 0, variance * 0)
    a = parts.get("scale", np.ones_like(mean)) / np.sqrt(variance + eps)
    return a, parts.get("bias", np.zeros_like(mean)) - mean * a
