"""Deconvolutions that upsample bilinearly, recognized by their numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["bilinear_factor", "upsampling_factor"]


def bilinear_factor(
    weight: np.ndarray,
    bias: np.ndarray | None,
    *,
    group: int,
    kernel: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    dilation: Sequence[int],
) -> int:
    """The factor f by which a transposed convolution upsamples bilinearly, 0 where it does something else.

    It has a group for each channel, kernel 2 f - f mod 2, stride f, pad ceil((f - 1) / 2), no bias (or zeros), and the
    weights of BVLC's bilinear filler (filler.hpp).

    Args:
        weight: (channels, outputs a group, kernel height, kernel width).
    """
    factor = stride[0] if len(kernel) == 2 else 0
    side, margin = 2 * factor - factor % 2, math.ceil((factor - 1) / 2)
    fits = (
        factor > 1
        and tuple(stride) == (factor, factor)
        and tuple(kernel) == (side, side)
        and tuple(pad) == (margin, margin)
        and tuple(dilation) == (1, 1)
        and group == weight.shape[0]
        and weight.shape[1] == 1
    )
    if not fits or (bias is not None and bias.any()):
        return 0
    half = math.ceil(side / 2)
    center = (2 * half - 1 - half % 2) / (2 * half)
    line = 1 - np.abs(np.arange(side) / half - center)
    return factor if np.allclose(weight, np.outer(line, line), atol=1e-5) else 0


def upsampling_factor(module: Any, blobs: Sequence[np.ndarray]) -> int:
    """`bilinear_factor` of a Deconvolution layer with these weights (and bias)."""
    if module.axis != 1:
        return 0
    return bilinear_factor(
        blobs[0],
        blobs[1] if len(blobs) > 1 else None,
        group=module.group,
        kernel=module.kernel,
        stride=module.stride,
        pad=module.pad,
        dilation=module.dilation,
    )
