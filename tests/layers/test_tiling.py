"""Tiling, GSTiling, Reorg against index arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer


def shuffle(text: str, x: np.ndarray) -> np.ndarray:
    """The layer's top, checked to be the same in both memory formats."""
    layer, blob = make_layer(text, x.shape), torch.from_numpy(x)
    top = layer(blob)
    assert torch.equal(layer(blob.contiguous(memory_format=torch.channels_last)), top)
    return top.numpy()


def test_rearrangements() -> None:
    x = np.random.default_rng(0).normal(0, 1, (2, 8, 4, 6)).astype(np.float32)
    tiled = shuffle('type: "Tiling" tiling_param { tile_dim: 2 }', x)
    gathered = shuffle('type: "GSTiling" gs_tiling_param { stride: 2 }', x)
    spread = shuffle('type: "GSTiling" gs_tiling_param { stride: 2 reverse: true }', x)
    reorg = shuffle('type: "Reorg" reorg_param { stride: 2 }', x)
    reverse = shuffle('type: "Reorg" reorg_param { stride: 2 reverse: true }', x)
    for c in range(2):
        for y in range(8):
            for z in range(12):
                place = (y % 2) * 2 + z % 2
                assert (tiled[:, c, y, z] == x[:, c * 4 + place, y // 2, z // 2]).all()
                assert (spread[:, c, y, z] == x[:, place * 2 + c, y // 2, z // 2]).all()
                assert (reverse[:, c, y, z] == x[:, place * 2 + c, y // 2, z // 2]).all()
    assert (gathered[:, 3 * 8 + 5, 1, 2] == x[:, 5, 3, 5]).all() and gathered.shape == (2, 32, 2, 3)
    # Forward, value (c, h, w) of the flat top is value (c % 2, ...) of the bottom read as (2, 8, 12).
    read = x.reshape(2, 2, 8, 12)
    for c in range(8):
        for h in range(4):
            for w in range(6):
                theirs = read[:, c % 2, h * 2 + c // 2 // 2, w * 2 + c // 2 % 2]
                assert (reorg.reshape(2, 8, 4, 6)[:, c, h, w] == theirs).all()


@pytest.mark.parametrize(
    ("text", "shapes", "words"),
    [
        ('type: "Tiling" tiling_param { tile_dim: 2 }', [(1, 6, 2, 2)], "6 channels"),
        ('type: "Tiling"', [(1, 6, 2, 2)], "tile_dim must be at least 1"),
        ('type: "GSTiling" gs_tiling_param { stride: 2 }', [(1, 1, 3, 2)], "multiples of stride 2"),
    ],
)
def test_refusals(text: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(text, *shapes)
