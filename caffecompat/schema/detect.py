"""Which Caffe fork a net or solver was written for, told by fields and types that only one of them has."""

from __future__ import annotations

from typing import Any

__all__ = ["detect_dialect"]


def detect_dialect(message: Any) -> str:
    """The letter of the fork whose rules a NetParameter or SolverParameter follows.

    "J" Jacinto/NVCaffe, "X" Xilinx, "E" ENet/SegNet, "P" PSPNet/DeepLab, "S" SSD, and "B" (BVLC) where nothing tells;
    the first in this order that shows wins.
    """
    if message.DESCRIPTOR.name == "SolverParameter":
        jacinto = ("sparse_mode", "rampup_interval", "larc")
        return "J" if any(map(message.HasField, jacinto)) else "B"
    if message.HasField("net_quantization_param"):
        return "J"
    found = {_layer_dialect(layer) for layer in message.layer} | {_layer_dialect(layer) for layer in message.layers}
    return next((letter for letter in "JXEPS" if letter in found), "B")


def _has(layer: Any, *names: str) -> bool:
    fields = layer.DESCRIPTOR.fields_by_name
    return any(name in fields and layer.HasField(name) for name in names)


def _layer_dialect(layer: Any) -> str:
    norm = layer.batch_norm_param if _has(layer, "batch_norm_param") else None
    bn = layer.bn_param if _has(layer, "bn_param") else None
    if _has(layer, "image_label_data_param") or (norm is not None and norm.HasField("scale_bias")):
        return "J"
    if _has(layer, "fixed_param", "deephi_resize_param") or layer.type == "SegmentPixelIOU":
        return "X"
    if (
        norm is not None
        and len(layer.param) in (4, 5)
        and (norm.HasField("scale_filler") or norm.HasField("bias_filler"))
    ):
        return "X"
    if _has(layer, "upsample_param", "dense_image_data_param") or (bn is not None and bn.HasField("bn_mode")):
        return "E"
    if _has(layer, "interp_param") or (bn is not None and bn.HasField("slope_filler")):
        return "P"
    if layer.type == "ImageSegData" and len(layer.top) == 3:
        return "P"
    return "S" if _has(layer, "annotated_data_param", "multibox_loss_param") else "B"
