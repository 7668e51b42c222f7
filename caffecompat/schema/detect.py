"""Which Caffe fork a net or solver was written for, by fields and types that only one of them has."""

from __future__ import annotations

from typing import Any

from caffecompat.forks import Fork

__all__ = ["detect_fork"]

_ORDER = (Fork.JACINTO, Fork.XILINX, Fork.ENET, Fork.PSPNET, Fork.SSD, Fork.HED)  # the first that shows wins


def detect_fork(message: Any) -> Fork:
    """The fork whose rules a NetParameter or SolverParameter follows; BVLC where nothing shows another."""
    if message.DESCRIPTOR.name == "SolverParameter":
        jacinto = ("sparse_mode", "rampup_interval", "larc")
        return Fork.JACINTO if any(map(message.HasField, jacinto)) else Fork.BVLC
    if message.HasField("net_quantization_param"):
        return Fork.JACINTO
    found = {_layer_fork(layer) for layer in message.layer} | {_layer_fork(layer) for layer in message.layers}
    return next((fork for fork in _ORDER if fork in found), Fork.BVLC)


def _has(layer: Any, *names: str) -> bool:
    fields = layer.DESCRIPTOR.fields_by_name
    return any(name in fields and layer.HasField(name) for name in names)


def _layer_fork(layer: Any) -> Fork:
    norm = layer.batch_norm_param if _has(layer, "batch_norm_param") else None
    bn = layer.bn_param if _has(layer, "bn_param") else None
    if _has(layer, "image_label_data_param") or (norm is not None and norm.HasField("scale_bias")):
        return Fork.JACINTO
    if _has(layer, "fixed_param", "deephi_resize_param") or layer.type == "SegmentPixelIOU":
        return Fork.XILINX
    if (
        norm is not None
        and len(layer.param) in (4, 5)
        and (norm.HasField("scale_filler") or norm.HasField("bias_filler"))
    ):
        return Fork.XILINX
    if _has(layer, "upsample_param", "dense_image_data_param") or (bn is not None and bn.HasField("bn_mode")):
        return Fork.ENET
    if _has(layer, "interp_param") or (bn is not None and bn.HasField("slope_filler")):
        return Fork.PSPNET
    if layer.type == "ImageSegData" and len(layer.top) == 3:
        return Fork.PSPNET
    if layer.type in ("ImageLabelmapData", "AutoCrop"):
        return Fork.HED
    return Fork.SSD if _has(layer, "annotated_data_param", "multibox_loss_param") else Fork.BVLC
