"""In which memory format a net computes: a property of the graph, not of a layer.

Parameters and their gradients are in C order whatever that is, because pycaffe shows them: scripts write through
``reshape(n, -1)`` and ``ravel()``, which are views of C order alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.layers.convolution import BaseConvolution
from caffecompat.net.layer import NetLayer

__all__ = ["choose_channels_last"]


def choose_channels_last(layers: Sequence[NetLayer]) -> bool:
    """Let nets that convolve images compute in channels_last, all others in NCHW; returns which."""
    convolutions = [layer.module for layer in layers if isinstance(layer.module, BaseConvolution)]
    channels_last = any(len(convolution.kernel) == 2 for convolution in convolutions)
    for convolution in convolutions:
        convolution.channels_last = channels_last
    return channels_last
