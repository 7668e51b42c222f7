"""What is put where a picture ends: mean_value, so that the net sees zeros."""

from __future__ import annotations

import numpy as np

from caffecompat.data.per_channel import check_per_channel
from caffecompat.schema import pb

__all__ = ["mean_pixel"]


def mean_pixel(param: pb.TransformationParameter, channels: int) -> list[float]:
    """mean_value as the nearest bytes, one a channel; zeros without one."""
    if not len(param.mean_value):
        return [0.0] * channels
    check_per_channel(param.mean_value, channels, "mean_value")
    mean = np.rint(np.array(param.mean_value, np.float32)).clip(0, 255)
    return [float(value) for value in np.broadcast_to(mean, channels)]
