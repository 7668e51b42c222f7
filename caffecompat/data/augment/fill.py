"""What is put where a picture or its label ends: mean_value, so that the net sees zeros, and the ignored label."""

from __future__ import annotations

import numpy as np

from caffecompat.data.per_channel import check_per_channel
from caffecompat.schema import pb

__all__ = ["ignored_label", "mean_pixel"]


def mean_pixel(param: pb.TransformationParameter, channels: int) -> list[float]:
    """mean_value as the nearest bytes, one a channel; zeros without one."""
    if not len(param.mean_value):
        return [0.0] * channels
    check_per_channel(param.mean_value, channels, "mean_value")
    mean = np.rint(np.array(param.mean_value, np.float32)).clip(0, 255)
    return [float(value) for value in np.broadcast_to(mean, channels)]


def ignored_label(layer: pb.LayerParameter) -> int:
    """The label of pixels that do not count: image_data_param.ignore_label; 255 also in layers without that block."""
    return layer.image_data_param.ignore_label
