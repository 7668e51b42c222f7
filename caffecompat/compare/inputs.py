"""Random values for inputs that layers read as numbers of something."""

from __future__ import annotations

import numpy as np

from caffecompat.net import Net

__all__ = ["numbers_for"]

_INDICATORS = {"RNN": 1, "LSTM": 1, "LSTMUnit": 2}  # which bottom says that a sequence goes on


def numbers_for(net: Net, blob: str, rng: np.random.Generator) -> np.ndarray | None:
    """Values of a fed blob, float32; None where no layer reads it as numbers.

    Rows of Embed's table, items of BatchReindex's first bottom, and 0 and 1 for the indicators of recurrent layers.
    """
    shape = net.fed_shapes[blob]
    for layer in net.layers:
        place = layer.bottoms.index(blob) if blob in layer.bottoms else None
        if layer.type == "Embed" and place == 0:
            return rng.integers(0, layer.param.embed_param.input_dim, shape).astype(np.float32)
        if layer.type == "BatchReindex" and place == 1:
            return rng.integers(0, net.blob_shapes[layer.bottoms[0]][0], shape).astype(np.float32)
        if place is not None and place == _INDICATORS.get(layer.type):
            return (rng.random(shape) > 0.2).astype(np.float32)
    return None
