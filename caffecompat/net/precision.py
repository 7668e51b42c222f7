"""Half precision where an NVCaffe net asks for it: ``default_forward_type`` and a layer's ``forward_type``.

FLOAT16 layers compute under torch's autocast (float16 on a GPU, bfloat16 on a
CPU, whose float16 is slow); parameters stay float32, the master copy that
NVCaffe keeps too. All other layers, and every loss, take float32.

In the fx graph of a net these are calls of :func:`in_half` and :func:`in_single`; layers do not know of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from caffecompat.layers import Layer
from caffecompat.schema import pb

if TYPE_CHECKING:
    from caffecompat.net.layer import NetLayer

__all__ = ["apply_precision", "compute", "in_half", "in_single"]


def apply_precision(message: pb.NetParameter, layers: Sequence[NetLayer]) -> bool:
    """Note at the layers of a net what its types ask for; returns whether any computes in half precision."""
    halves = [
        layer.module is not None and not layer.module.is_loss and _forward_type(message, layer.param) == pb.FLOAT16
        for layer in layers
    ]
    if not any(halves):
        return False
    for layer, half in zip(layers, halves, strict=True):
        layer.half_precision = half
    return True


def _forward_type(message: pb.NetParameter, param: pb.LayerParameter) -> int:
    return int(param.forward_type if param.HasField("forward_type") else message.default_forward_type)


def compute(layer: NetLayer, bottoms: Sequence[Tensor]) -> Any:
    """A layer's tops in the precision that its net asks for: a tensor, or a tuple where there are several."""
    assert layer.module is not None
    if layer.half_precision is None:
        return layer.module(*bottoms)
    if layer.half_precision:
        return in_half(layer.module, *bottoms)
    return layer.module(*map(in_single, bottoms))


def in_half(layer: Layer, *bottoms: Tensor) -> Any:
    """The tops of a FLOAT16 layer."""
    device = bottoms[0].device.type if bottoms else "cpu"
    if device == "meta":
        return layer(*bottoms)
    with torch.autocast(device, torch.float16 if device == "cuda" else torch.bfloat16):
        return layer(*bottoms)


def in_single(blob: Tensor) -> Tensor:
    """A blob for a layer that is not FLOAT16: float32, where it holds floating-point numbers."""
    return blob.float() if blob.is_floating_point() else blob
