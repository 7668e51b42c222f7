"""ONNX of the layers that move values."""

from __future__ import annotations

import math

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, emits, lacks


@emits("Split")
def split(e: Emission) -> None:
    """Nothing: each top is the bottom."""
    for top in range(len(e.tops)):
        e.alias(top, e.bottoms[0])


@emits("Silence")
def silence(e: Emission) -> None:
    """Nothing at all."""


@emits("Flatten", "Reshape")
def reshape(e: Emission) -> None:
    """Reshape to the static shape; Flatten where it says the same."""
    if e.top_shapes[0] == e.shape:
        e.alias(0, e.bottoms[0])
    elif len(e.shape) > 1 and e.top_shapes[0] == (e.shape[0], math.prod(e.shape[1:])):
        e.op("Flatten", e.bottoms[0], to=e.tops[0], axis=1)
    else:
        e.reshape(e.bottoms[0], e.top_shapes[0], e.tops[0])


@emits("Permute", "Transpose")
def permute(e: Emission) -> None:
    """Transpose."""
    e.op("Transpose", e.bottoms[0], to=e.tops[0], perm=list(e.module.order))


@emits("Tile")
def tile(e: Emission) -> None:
    """Tile."""
    repeats = [e.module.tiles if axis == e.module.axis else 1 for axis in range(len(e.shape))]
    e.op("Tile", e.bottoms[0], e.ints(repeats, "repeats"), to=e.tops[0])


@emits("BatchReindex")
def batch_reindex(e: Emission) -> None:
    """Gather."""
    index = e.cast(e.reshape(e.bottoms[1], (-1,)), np.int64)
    e.op("Gather", e.bottoms[0], index, to=e.tops[0], axis=0)


lacks("Filter", "gives a number of rows that depends on values")
