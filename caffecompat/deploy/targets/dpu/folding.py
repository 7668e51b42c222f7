"""Normalizations that run better on a DPU as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from caffecompat.layers.activation import ReLU, ReLU6
from caffecompat.layers.concat import Concat
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer, Value

__all__ = ["worse_if_folded"]


def worse_if_folded(net: Net, blobs: Mapping[str, Sequence[np.ndarray]], before: NetLayer, top: Value) -> str:
    """Why the net would be worse if the normalization that makes `top` went into the layers before a Concat.

    On a DPU a normalization is a depthwise convolution, which takes in the ReLU after it, while a ReLU after a Concat
    falls to the CPU.
    """
    activation = _activation(net, top) if isinstance(before.module, Concat) else ""
    return activation and (
        f"in the layers before {before.name!r} (Concat) it would leave {activation} after the Concat, where "
        "the DPU runs none; as it is, the two are one depthwise convolution there"
    )


def _activation(net: Net, value: Value) -> str:
    """The ReLU or ReLU6 that reads a value, maybe through other normalizations; ""."""
    for layer in net.layers:
        if value not in layer.bottom_values:
            continue
        module = layer.module
        if isinstance(module, ReLU6) or (isinstance(module, ReLU) and module.slope == 0):
            return f"{layer.name!r} ({layer.type})"
        if module is not None and module.channel_affine and len(layer.bottom_values) == 1:
            found = _activation(net, layer.top_values[0])
            if found:
                return found
    return ""
