"""A convolution as oneDNN wants it: its weights laid out once, and the ReLU after it computed while the sums are warm.

These are the operators that torch's own compiler uses for frozen nets on CPUs. Where torch has none of them, layers
stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from caffecompat.layers import Layer
from caffecompat.layers.activation import ReLU
from caffecompat.layers.convolution import Convolution
from caffecompat.layers.layer import Shape

__all__ = ["pack"]


def pack(module: Layer, bottom: Shape, relu: ReLU | None) -> Callable[[Tensor], Tensor] | None:
    """A layer's computation, packed; None where it cannot be.

    Args:
        bottom: the shape to choose the layout for; other sizes work, too.
        relu: computed on the way; None for none.
    """
    if type(module) is not Convolution or module.axis != 1 or len(module.kernel) != 2 or len(bottom) != 4:
        return None
    weight = module.weight.detach()
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return None
    try:
        return _packed(module, weight, bottom, relu)
    except (AttributeError, RuntimeError):  # a torch whose operators are others
        return None


def _packed(module: Convolution, weight: Tensor, bottom: Shape, relu: ReLU | None) -> Callable[[Tensor], Tensor]:
    settings = [list(module.pad), list(module.stride), list(module.dilation), module.group]
    reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    stored = reorder(weight.to_mkldnn(), *settings, list(bottom))
    convolve: Any = torch.ops.mkldnn._convolution_pointwise.default
    bias = None if module.bias is None else module.bias.detach()
    attribute = "none" if relu is None else "leaky_relu" if relu.slope else "relu"
    scalars = [relu.slope] if relu is not None and relu.slope else []

    def compute(x: Tensor) -> Tensor:
        top: Tensor = convolve(x, stored, bias, *settings, attribute, scalars, "")
        return top

    compute(torch.zeros(bottom).contiguous(memory_format=torch.channels_last))
    return compute
