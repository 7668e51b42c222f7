"""Layers from prototxt text, without a net, and what goes into them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from caffecompat.forks import Fork
from caffecompat.layers import Context, Layer, layer_class
from caffecompat.schema import parse_text, pb


def make_layer(text: str, *bottom_shapes: Sequence[int], phase: int = pb.TRAIN, fork: Fork = Fork.BVLC) -> Layer:
    """The layer of the text ``type: "..." ...`` over bottoms of those shapes.

    Bottoms that it does not name are called b0, b1, ...; it has one top unless it names some or may have none.
    """
    param = parse_text(text, pb.LayerParameter())
    cls = layer_class(param.type)
    assert cls is not None, f"no class implements {param.type}"
    if not param.bottom:
        param.bottom.extend(f"b{index}" for index in range(len(bottom_shapes)))
    if not param.top and cls.tops[1] != 0:
        param.top.append("top")
    return cls(param, [tuple(shape) for shape in bottom_shapes], Context(phase, fork))


def numbered(*shape: int) -> Tensor:
    """The numbers 0, 1, 2, ... in that shape."""
    return torch.arange(float(np.prod(shape))).reshape(shape)


def _channels_last(blob: Tensor) -> Tensor:
    return blob.contiguous(memory_format=torch.channels_last) if blob.dim() == 4 else blob


def same_in_both_formats(layer: Layer, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
    """The tops, which have to be the same for bottoms in channels_last."""
    top = layer(*bottoms)
    torch.testing.assert_close(layer(*map(_channels_last, bottoms)), top)
    return top
