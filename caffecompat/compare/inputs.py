"""Random values for inputs that layers read as numbers of something."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from caffecompat.net import Net
from caffecompat.net.layer import NetLayer

__all__ = ["numbers_for"]

_OF_REGIONS = {"PSROIPooling", "ROIPooling"}
_INDICATORS = {"RNN": 1, "LSTM": 1, "LSTMUnit": 2}  # which bottom says that a sequence goes on


def numbers_for(net: Net, blob: str, rng: np.random.Generator) -> np.ndarray | None:
    """Values of a fed blob, float32; None where no layer reads it as numbers.

    Rows of Embed's table, items of BatchReindex's first bottom, 0 and 1 for the indicators of recurrent layers; places
    in the plane of Upsample's top; regions of the picture, and its size.
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
        if layer.type == "Upsample" and place == 1:
            return _mask(net.blob_shapes[layer.tops[0]], shape, rng)
        if layer.type in _OF_REGIONS and place == 1:
            return _regions(layer, net.blob_shapes[layer.bottoms[0]], shape, rng)
        if _proposes(layer) and place == 2:
            rows, columns = _picture(net) or tuple(16 * side for side in net.blob_shapes[layer.bottoms[0]][2:])
            more = np.ones(math.prod(shape[1:]) - 2)
            return np.broadcast_to([rows, columns, *more], (shape[0], len(more) + 2)).reshape(shape).astype(np.float32)
    return None


def _mask(top: Sequence[int], shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Different places h W + w for the values of each plane."""
    planes, count = math.prod(shape[:2]), math.prod(shape[2:])
    places = [rng.permutation(top[2] * top[3])[:count] for _ in range(planes)]
    return np.reshape(places, shape).astype(np.float32)


def _proposes(layer: NetLayer) -> bool:
    """Whether its third bottom is the size of the picture."""
    return layer.type == "Proposal" or (layer.type == "Python" and layer.param.python_param.layer == "ProposalLayer")


def _picture(net: Net) -> tuple[int, ...] | None:
    """Height and width of the picture that is fed."""
    return next((shape[2:] for shape in net.fed_shapes.values() if len(shape) == 4 and shape[2] > 1), None)


def _regions(layer: NetLayer, features: Sequence[int], shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Rows [item, xmin, ymin, xmax, ymax] in pixels, some a little outside the picture."""
    p = layer.param.roi_pooling_param if layer.type == "ROIPooling" else layer.param.psroi_pooling_param
    side = np.array([features[3], features[2]]) / p.spatial_scale
    low, high = np.sort(rng.uniform(-0.1, 1.1, (2, shape[0], 2)), 0) * side
    item = rng.integers(0, features[0], (shape[0], 1))
    return np.concatenate([item, low, high], 1).reshape(shape).astype(np.float32)
