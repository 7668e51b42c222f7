"""Random values for inputs of which not any number is a valid one."""

from __future__ import annotations

import numpy as np

from caffecompat.net import Net

__all__ = ["valid_values"]


def valid_values(net: Net, blob: str, rng: np.random.Generator) -> np.ndarray | None:
    """Values of a fed blob, float32, that a layer which reads it can take (`Layer.sample_bottom`).

    Returns:
        None where any number is valid.
    """
    for layer in net.layers:
        if layer.module is None or blob not in layer.bottoms:
            continue
        bottoms, tops = ([net.blob_shapes[name] for name in names] for names in (layer.bottoms, layer.tops))
        values = layer.module.sample_bottom(layer.bottoms.index(blob), bottoms, tops, rng)
        if values is not None:
            return values.astype(np.float32)
    return None
