"""Layers that compute in 16 bits, by a net's ``default_forward_type``, their own ``forward_type``, or ``--amp``.

FLOAT16 is NVCaffe's, BFLOAT16 ours. Such layers compute under torch's autocast; parameters stay float32, the master
copy that NVCaffe keeps too, and so do their gradients and updates. Which types of layers can do so at all, their
classes say (:class:`caffecompat.layers.Precision`); losses, and layers with a loss weight, take float32. A CPU, whose
float16 is slower than its float32, computes FLOAT16 in bfloat16.

In the fx graph of a net these are calls of :func:`in_half`, :func:`rounded` and :func:`in_single`; layers do not know
of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError
from caffecompat.layers import Layer, Precision
from caffecompat.net.problems import Problem
from caffecompat.schema import NetDocument, pb

if TYPE_CHECKING:
    from caffecompat.net.layer import NetLayer

__all__ = [
    "AMP", "Amp", "apply_precision", "compute", "drop_own_types", "in_half", "in_single", "precision_text",
    "refuse_amp", "rounded", "scale_problems", "with_amp",
]  # fmt: skip

Amp = Literal["bf16", "fp16"]

AMP: dict[str, pb.Type] = {"bf16": pb.BFLOAT16, "fp16": pb.FLOAT16}
_TORCH: dict[int, torch.dtype] = {pb.FLOAT16: torch.float16, pb.BFLOAT16: torch.bfloat16}


def with_amp(document: NetDocument, amp: str | None) -> NetDocument:
    """A net whose layers compute in 16 bits, all but those that state ``forward_type: FLOAT`` themselves.

    float16, which holds no small gradient, gets a dynamic loss scale where the net states none.

    Args:
        amp: "bf16" or "fp16"; None leaves the net as it is.

    Raises:
        CaffeCompatError: it is neither.
    """
    if amp is None:
        return document
    if amp not in AMP:
        raise CaffeCompatError(f"amp {amp!r}: expected {' or '.join(AMP)}")
    message = type(document.message)()
    message.CopyFrom(document.message)
    message.default_forward_type = AMP[amp]
    for layer in message.layer:
        if layer.forward_type in _TORCH:
            layer.forward_type = AMP[amp]
    if amp == "fp16" and not any(message.HasField(name) for name in _SCALES):
        message.global_grad_scale_dynamic = True
    return dataclasses.replace(document, message=message)


_SCALES = ("global_grad_scale", "global_grad_scale_adaptive", "global_grad_scale_dynamic")


def refuse_amp(amp: str | None) -> None:
    """Of a function that was given a net which is made already, and types for one to be made.

    Raises:
        CaffeCompatError: `amp` is not None.
    """
    if amp is not None:
        raise CaffeCompatError(
            f"amp {amp!r}: the net is made already; give it to what makes the net, as in Net(..., amp=...)"
        )


def scale_problems(message: pb.NetParameter) -> list[Problem]:
    """What is wrong with the scale that a net wants its loss to have while it is trained."""
    others = [name for name in _SCALES[:2] if message.HasField(name) and getattr(message, name)]
    if not message.global_grad_scale > 0:
        text = f"global_grad_scale must be above 0, it is {message.global_grad_scale:g}"
        return [Problem(None, text, "global_grad_scale")]
    if message.global_grad_scale_dynamic and others:
        text = f"global_grad_scale_dynamic starts at 65536 and cannot be combined with {' and '.join(others)}"
        return [Problem(None, text, "global_grad_scale_dynamic")]
    return []


def drop_own_types(message: pb.NetParameter) -> bool:
    """Take BFLOAT16 out of a net that other programs read, which know no such type; whether it was there."""
    found = False
    for each, field in [(message, "default_forward_type"), *((layer, "forward_type") for layer in message.layer)]:
        if getattr(each, field) == pb.BFLOAT16:
            each.ClearField(field)
            found = True
    return found


def apply_precision(message: pb.NetParameter, layers: Sequence[NetLayer]) -> bool:
    """Note at the layers of a net what its types ask for; returns whether any computes in 16 bits."""
    for layer in layers:
        if layer.module is not None:
            layer.half_type = _TORCH.get(_forward_type(message, layer.param))
    wishes = [layer for layer in layers if layer.half_type is not None]
    half = any(_able(layer) is Precision.HALF for layer in wishes)
    for layer in layers:
        layer.precision = (_able(layer) if layer in wishes else Precision.SINGLE) if half else None
    return half


def _able(layer: NetLayer) -> Precision:
    """What a layer makes of the wish for 16 bits."""
    assert layer.module is not None
    return Precision.SINGLE if any(layer.loss_weights) else layer.module.precision


def _forward_type(message: pb.NetParameter, param: pb.LayerParameter) -> int:
    return param.forward_type if param.HasField("forward_type") else message.default_forward_type


def precision_text(layers: Sequence[NetLayer], device: torch.device) -> str:
    """``12 of 20 layers compute in bfloat16``, or why that is not the type which is asked for; "" where none does."""
    asked = {layer.half_type for layer in layers if layer.precision is Precision.HALF and layer.half_type}
    if not asked:
        return ""
    count = sum(layer.precision is Precision.HALF for layer in layers)
    types = " and ".join(sorted({_name(_computed_in(kind, device.type)) for kind in asked}))
    slow = torch.float16 in asked and _computed_in(torch.float16, device.type) is not torch.float16
    why = ", as a CPU's float16 is slower than its float32" if slow else ""
    return f"{count} of {len(layers)} layers compute in {types}{why}"


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def _computed_in(kind: torch.dtype, device: str) -> torch.dtype:
    return torch.bfloat16 if device == "cpu" else kind


def compute(layer: NetLayer, bottoms: Sequence[Tensor]) -> Any:
    """A layer's tops in the precision that its net asks for: a tensor, or a tuple where there are several."""
    assert layer.module is not None
    if layer.precision is None:
        return layer.module(*bottoms)
    if layer.precision is Precision.HALF:
        assert layer.half_type is not None
        return in_half(layer.module, layer.half_type, *bottoms)
    if layer.precision is Precision.ROUNDED:
        return rounded(layer.module, *bottoms)
    return layer.module(*map(in_single, bottoms))


def in_half(layer: Layer, kind: torch.dtype, *bottoms: Tensor) -> Any:
    """The tops of a layer that computes in 16 bits of that type."""
    device = bottoms[0].device.type if bottoms else "cpu"
    if device == "meta":
        return layer(*bottoms)
    with torch.autocast(device, _computed_in(kind, device)):
        return layer(*bottoms)


def rounded(layer: Layer, *bottoms: Tensor) -> Any:
    """The tops of a layer that computes in float32, the first one of the type of the first bottom."""
    tops = layer(*map(in_single, bottoms))
    if not bottoms[0].is_floating_point():
        return tops
    if isinstance(tops, Tensor):
        return tops.to(bottoms[0].dtype)
    return (tops[0].to(bottoms[0].dtype), *tops[1:])


def in_single(blob: Tensor) -> Tensor:
    """A blob for a layer that computes in float32: of that type, where it holds floating-point numbers."""
    return blob.float() if blob.is_floating_point() else blob
