"""Normalizations that run better on TIDL as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from caffecompat.deploy.bilinear import upsampling_factor
from caffecompat.layers.convolution import Deconvolution
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer, Value

__all__ = ["worse_if_folded"]


def worse_if_folded(net: Net, blobs: Mapping[str, Sequence[np.ndarray]], before: NetLayer, top: Value) -> str:
    """Why the net would be worse if the normalization that makes `top` went into a bilinear Deconvolution.

    TIDL resizes in the place of one that is bilinear, and has no depthwise one.
    """
    if isinstance(before.module, Deconvolution) and upsampling_factor(before.module, blobs[before.name]):
        return f"{before.name!r} before it is bilinear, which TIDL resizes; with other weights it cannot run it"
    return ""
