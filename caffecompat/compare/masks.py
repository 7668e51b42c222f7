"""Masks of max pooling in comparisons: of two values nearly equal, another computation may find the other the greater.

One such choice moves a value to another place, and all that is made from the mask differs by the size of the values
(SegNet: one mask in millions). So a mask is judged by itself: each place that it names must lie in its window and hold
the maximum, within the tolerance. Then what follows is compared with that mask in both nets.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from caffecompat.layers.functional.pooling import Window
from caffecompat.layers.pooling import Pooling
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer

__all__ = ["MaskChoice", "given_masks", "masked_poolings", "recorded_masks"]


@dataclass
class MaskChoice:
    """How a foreign mask of a layer differs from the net's own.

    Attributes:
        layer: its name.
        moved: how many of `size` places are others.
        worst: how far the values at these places are below the maxima, as a share of the bottom's largest magnitude;
            infinite where a place lies outside of its window.
    """

    layer: str
    moved: int
    size: int
    worst: float


def masked_poolings(net: Net) -> list[NetLayer]:
    """The layers of max pooling that make a mask."""
    return [
        layer for layer in net.layers if layer.module is not None and layer.module.mask_top in range(len(layer.tops))
    ]


@contextlib.contextmanager
def recorded_masks(net: Net) -> Iterator[dict[int, Tensor]]:
    """The masks that a net makes inside the block, by place of the layer among `masked_poolings`."""
    masks: dict[int, Tensor] = {}
    hooks = []
    for place, layer in enumerate(masked_poolings(net)):
        assert layer.module is not None

        def keep(_: nn.Module, __: object, tops: tuple[Tensor, ...], place: int = place) -> None:
            masks[place] = tops[1].detach().clone()

        hooks.append(layer.module.register_forward_hook(keep))
    try:
        yield masks
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def given_masks(net: Net, masks: Mapping[int, Tensor], tolerance: float) -> Iterator[list[MaskChoice]]:
    """Let a net's poolings give foreign masks inside the block, where these choose between near equals.

    Args:
        masks: by place among `masked_poolings`, numbered as Caffe does (h W + w in the bottom's plane, -1 for nothing).
        tolerance: how far below its window's maximum a chosen value may be, as a share of the largest magnitude.

    Yields:
        How each mask that differs was judged; complete once the net has run. A mask that chooses otherwise than
        between near equals is not taken.
    """
    choices: list[MaskChoice] = []
    hooks = []
    for place, layer in enumerate(masked_poolings(net)):
        if place not in masks:
            continue
        assert layer.module is not None

        def replace(
            module: Pooling,
            bottoms: tuple[Tensor, ...],
            tops: tuple[Tensor, ...],
            name: str = layer.name,
            place: int = place,
        ) -> tuple[Tensor, ...] | None:
            top, own = tops
            mask = masks[place].to(own.dtype)
            if mask.shape != own.shape or torch.equal(mask, own):
                return None
            worst = _below(bottoms[0], top, own, mask, module._window(bottoms[0].shape))
            choices.append(MaskChoice(name, int((mask != own).sum()), own.numel(), worst))
            return (top, mask) if worst <= tolerance else None

        hooks.append(layer.module.register_forward_hook(replace))
    try:
        yield choices
    finally:
        for hook in hooks:
            hook.remove()


def _below(bottom: Tensor, top: Tensor, own: Tensor, mask: Tensor, window: Window) -> float:
    """How far the values at the mask's places are below the maxima `top`; see MaskChoice.worst."""
    moved = mask != own
    height, width = bottom.shape[2:]
    inside = (mask >= 0) & (mask < height * width) & (own >= 0)
    places = mask.long().clamp(0, height * width - 1)
    rows, columns = places // width, places % width
    for found, axis, size in ((rows, 2, height), (columns, 3, width)):
        at = axis - 2
        starts = torch.arange(mask.shape[axis]) * window.stride[at] - window.pad[at]
        starts = starts.view(-1, 1) if axis == 2 else starts
        inside &= (found >= starts) & (found < (starts + window.kernel[at]).clamp(max=size))
    if bool((moved & ~inside).any()):
        return float("inf")
    chosen = bottom.flatten(2).gather(2, places.flatten(2)).view_as(top)
    gap = (top - chosen)[moved].abs()
    largest = float(bottom.abs().max())
    worst = float(gap.max()) / largest if largest else 0.0
    return worst if worst == worst else float("inf")
