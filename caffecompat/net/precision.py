"""Half precision where an NVCaffe net asks for it: ``default_forward_type`` and a layer's ``forward_type``.

FLOAT16 layers compute under torch's autocast (float16 on a GPU, bfloat16 on a
CPU, whose float16 is slow); parameters stay float32, the master copy that
NVCaffe keeps too. All other layers, and every loss, take float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from caffecompat.layers import Layer
from caffecompat.schema import pb

if TYPE_CHECKING:
    from caffecompat.net.build import NetLayer

__all__ = ["apply_precision"]


def apply_precision(message: Any, layers: Sequence[NetLayer]) -> bool:
    """Make the layers of a net compute as its types say; returns whether any computes in half precision."""
    halves = [
        layer
        for layer in layers
        if layer.module is not None and not layer.module.is_loss and _forward_type(message, layer.param) == pb.FLOAT16
    ]
    if not halves:
        return False
    for layer in layers:
        if layer.module is not None:
            # A partial of the module, not a closure: copies and pickles of a net then hold their own module in it.
            layer.module.forward = partial(_in_half if layer in halves else _in_single, layer.module)
    return True


def _forward_type(message: Any, param: Any) -> int:
    return int(param.forward_type if param.HasField("forward_type") else message.default_forward_type)


def _in_half(layer: Layer, *bottoms: Tensor) -> Any:
    device = bottoms[0].device.type if bottoms else "cpu"
    if device == "meta":
        return type(layer).forward(layer, *bottoms)
    with torch.autocast(device, torch.float16 if device == "cuda" else torch.bfloat16):
        return type(layer).forward(layer, *bottoms)


def _in_single(layer: Layer, *bottoms: Tensor) -> Any:
    return type(layer).forward(layer, *(b.float() if b.is_floating_point() else b for b in bottoms))
