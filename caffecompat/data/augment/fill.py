"""What is put where a picture or its label ends: mean_value, so that the net sees zeros, and the ignored label."""

from __future__ import annotations

from collections.abc import Iterable

from caffecompat.data.per_channel import check_per_channel
from caffecompat.data.source import DataError
from caffecompat.schema import pb

__all__ = ["ignored_label", "mean_pixel"]

_MOST_CHANNELS = 4  # of a picture that OpenCV pads


def mean_pixel(mean: Iterable[float], channels: int) -> list[float]:
    """mean_value, or the means of a mean picture, one a channel; zeros without any.

    Raises:
        DataError: there are neither one nor one a channel, or more channels than OpenCV pads.
    """
    if channels > _MOST_CHANNELS:
        raise DataError(f"a picture with {channels} channels cannot be padded; at most {_MOST_CHANNELS} can")
    values = [float(value) for value in mean] or [0.0]
    check_per_channel(values, channels, "mean_value")
    return values if len(values) == channels else values * channels


def ignored_label(layer: pb.LayerParameter) -> int:
    """The label around a label picture: image_data_param's ignore_label, else transform_param's, else 255.

    The edge maps of ImageLabelmapData have no such value and get 0, no edge. What ignore_label the loss has is not
    known to a data layer.
    """
    transform, images = layer.transform_param, layer.image_data_param
    if images.HasField("ignore_label"):
        if transform.HasField("ignore_label") and transform.ignore_label != images.ignore_label:
            raise DataError(
                f"transform_param.ignore_label is {transform.ignore_label}, image_data_param.ignore_label is "
                f"{images.ignore_label}; give one of them"
            )
        return images.ignore_label
    if layer.type == "ImageLabelmapData" and not transform.HasField("ignore_label"):
        return 0
    if transform.ignore_label > 255:
        raise DataError(f"transform_param.ignore_label must be at most 255, it is {transform.ignore_label}")
    return transform.ignore_label
