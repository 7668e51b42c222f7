"""Holding a written torch file against the net it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from caffecompat.compare.draws import SameDraws
from caffecompat.compare.masks import given_masks, masked_poolings
from caffecompat.compare.nets import (
    TOLERANCE,
    Difference,
    compare_outputs,
    in_single_precision,
    random_inputs,
    remarked,
)
from caffecompat.compare.nonfinite import watch_values
from caffecompat.deploy.torch_source.source import TorchSource
from caffecompat.layers import Layer
from caffecompat.layers.pooling import Pooling
from caffecompat.net import Net

__all__ = ["compare_source"]


@torch.no_grad()
def compare_source(
    net: Net, source: TorchSource, written: nn.Module, *, allow_nonfinite: bool = False
) -> list[Difference]:
    """Run both on one random input, in 32 bits; masks of max pooling may choose otherwise between near equals.

    Args:
        written: what ``load()`` of the file gives.
        allow_nonfinite: compare though the net holds NaN or infinity, which must be at the same places in both.

    Raises:
        NonFiniteError: the net holds NaN or infinity, or computes them.
    """
    inputs, reference = random_inputs(net), in_single_precision(net)
    with SameDraws(), watch_values(reference) as values:
        ours = reference.forward(inputs)
    values.refuse(allow_nonfinite)
    with SameDraws(), _MaskedPoolings() as pooled:
        theirs = source.tops(written(*(inputs[blob] for blob in source.inputs)))
    found = compare_outputs(net, ours, theirs)
    poolings = masked_poolings(net)
    if len(poolings) == len(pooled.calls) and any(difference.relative > TOLERANCE for difference in found):
        shapes = (net.blob_shapes[layer.bottoms[0]] for layer in poolings)
        masks = {
            place: _caffe_mask(call, shape, layer.module)
            for place, (layer, call, shape) in enumerate(zip(poolings, pooled.calls, shapes, strict=True))
        }
        with SameDraws(), given_masks(reference, masks, TOLERANCE) as choices:
            ours = reference.forward(inputs)
        found = remarked(compare_outputs(net, ours, theirs), choices)
    return found


class _MaskedPoolings(TorchFunctionMode):
    """Keeps what max poolings that give places gave, in the order of the calls.

    Attributes:
        calls: maxima, places in the plane that torch saw, that plane's width, and whether torch padded it itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, Tensor, int, bool]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is F.max_pool2d_with_indices:
            padding = (kwargs or {}).get("padding", args[3] if len(args) > 3 else 0)
            padded = any(padding) if isinstance(padding, Sequence) else bool(padding)
            self.calls.append((made[0], made[1], args[0].shape[3], padded))
        return made


def _caffe_mask(call: tuple[Tensor, Tensor, int, bool], shape: Sequence[int], pooling: Layer | None) -> Tensor:
    """torch's places as Caffe numbers them: in the bottom's plane, -1 where a window sees no value."""
    top, index, wide, padded = call
    assert isinstance(pooling, Pooling)
    pad = (0, 0) if padded else pooling._window(shape).pad
    rows, columns = index // wide - pad[0], index % wide - pad[1]
    return (rows * shape[3] + columns).masked_fill(top == torch.finfo(top.dtype).min, -1)
