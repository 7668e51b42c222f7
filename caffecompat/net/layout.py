"""In which memory format a net computes: a property of the graph (see :func:`choose_memory_format`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from caffecompat.net.build import NetLayer

__all__ = ["apply_memory_format", "choose_memory_format"]

_CONVOLUTIONS = ("Convolution", "Deconvolution")


def choose_memory_format(layers: Sequence[NetLayer]) -> torch.memory_format:
    """channels_last for nets that convolve images, NCHW for all others."""
    for layer in layers:
        if layer.type in _CONVOLUTIONS and any(len(slot.shape) == 4 for slot in layer.slots):
            return torch.channels_last
    return torch.contiguous_format


def apply_memory_format(layers: Sequence[NetLayer], memory_format: torch.memory_format) -> None:
    """Bring the 4-D weights of convolutions into a memory format; shapes and values stay as they are.

    A parameter that a layer shares in another shape stays as Caffe lays it out,
    because the sharer sees the same memory.
    """
    reshaped = {
        id(slot.parameter)
        for layer in layers
        for slot in layer.slots
        if slot.owner is not None and slot.owner.shape != slot.shape
    }
    for layer in layers:
        if layer.type not in _CONVOLUTIONS:
            continue
        for slot in layer.slots:
            parameter = slot.parameter
            if parameter.dim() == 4 and id(parameter) not in reshaped:
                # Not contiguous(): with one input channel it leaves the strides as they are, and torch then runs NCHW.
                parameter.data = parameter.data.to(memory_format=memory_format)
