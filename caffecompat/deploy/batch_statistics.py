"""Normalizations whose prototxt asks for each batch's own statistics where a deployed net has the stored ones."""

from __future__ import annotations

from caffecompat.layers import class_of
from caffecompat.layers.normalization import BatchNorm
from caffecompat.schema import pb

__all__ = ["asks_for_batch_statistics", "states_its_statistics", "use_running_statistics"]


def states_its_statistics(layer: pb.LayerParameter) -> bool:
    """Whether a LayerParameter is of a BatchNorm that states `use_global_stats`."""
    return class_of(layer.type) is BatchNorm and bool(layer.batch_norm_param.HasField("use_global_stats"))


def asks_for_batch_statistics(layer: pb.LayerParameter) -> bool:
    """Whether a LayerParameter is of a BatchNorm with `use_global_stats: false`."""
    return states_its_statistics(layer) and not layer.batch_norm_param.use_global_stats


def use_running_statistics(message: pb.NetParameter) -> list[str]:
    """Let every BatchNorm of a net use its stored statistics in TEST; the names of those that did not."""
    asking = [layer.name for layer in message.layer if asks_for_batch_statistics(layer)]
    for layer in message.layer:
        if states_its_statistics(layer):
            layer.batch_norm_param.ClearField("use_global_stats")
    return asking
