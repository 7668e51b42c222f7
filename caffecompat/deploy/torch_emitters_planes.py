"""Emitters of pooling and resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from caffecompat.deploy.torch_emission import CannotEmit, Emitted, Shape, emits, make, square
from caffecompat.net.build import NetLayer
from caffecompat.schema import pb


@emits("Pooling")
def _pooling(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    average = module.method == pb.PoolingParameter.AVE
    if module.method == pb.PoolingParameter.STOCHASTIC:
        raise CannotEmit("STOCHASTIC pooling")
    if module.whole_plane and len(tops) == 1:
        return Emitted("", "{0}.mean((2, 3), keepdim=True)" if average else "{0}.amax((2, 3), keepdim=True)")
    window, sizes = module._window(bottoms[0]), bottoms[0][2:]
    settings = {"stride": (square(window.stride), square(window.kernel)), "padding": (square(window.pad), 0)}
    if window.torch_agrees(sizes):
        rounds_up = tuple(tops[0][2:]) != _floor_sizes(window, sizes)
        indices = {"return_indices": (len(tops) == 2, False)}
        name = "nn.AvgPool2d" if average else "nn.MaxPool2d"
        return Emitted(make(name, square(window.kernel), **settings, ceil_mode=(rounds_up, False), **indices))
    if len(tops) == 2:
        raise CannotEmit("a mask of windows that hang off the edge")
    margins: list[int] = []
    for size, k, s, p, count in reversed(
        list(zip(sizes, window.kernel, window.stride, window.pad, tops[0][2:], strict=True))
    ):
        margins += [p, (count - 1) * s + k - size - p]
    if average:
        limits = tuple(size + p for size, p in zip(sizes, window.pad, strict=True))
        text = make("RaggedAvgPool2d", window.kernel, window.stride, window.pad, tuple(margins), limits)
        return Emitted(text, helpers=("RaggedAvgPool2d",))
    pool = make("nn.MaxPool2d", square(window.kernel), stride=settings["stride"])
    lowest = float(torch.finfo(torch.float32).min)
    return Emitted(f"nn.Sequential(nn.ConstantPad2d({tuple(margins)}, {lowest!r}), {pool})")


def _floor_sizes(window: Any, sizes: Sequence[int]) -> Shape:
    return tuple(
        (size + 2 * p - k) // s + 1
        for size, k, s, p in zip(sizes, window.kernel, window.stride, window.pad, strict=True)
    )


@emits("Upsample", "Interp", "DeephiResize", "Tiling")
def _resize(layer: NetLayer, blobs: list[np.ndarray], bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Emitted:
    module: Any = layer.module
    size = tuple(tops[0][2:])
    if layer.type == "Tiling":
        return Emitted(f"nn.PixelShuffle({module.side})")
    if layer.type == "Upsample":
        return Emitted(f"MaskedUnpool({size})", helpers=("MaskedUnpool",))
    if layer.type == "DeephiResize":
        if module.bilinear:
            return Emitted("", f'F.interpolate({{0}}, {size}, mode="bilinear", align_corners=False)')
        if size[0] % bottoms[0][2] or size[1] % bottoms[0][3]:
            raise CannotEmit("NEAREST by other than a whole factor")
        return Emitted("", f'F.interpolate({{0}}, {size}, mode="nearest")')
    p = layer.param.interp_param
    bottom = "{0}"
    if p.pad_beg or p.pad_end:
        ends = bottoms[0][2] + p.pad_end, bottoms[0][3] + p.pad_end
        bottom = f"{{0}}[:, :, {-p.pad_beg}:{ends[0]}, {-p.pad_beg}:{ends[1]}]"
    return Emitted("", f'F.interpolate({bottom}, {size}, mode="bilinear", align_corners=True)')
