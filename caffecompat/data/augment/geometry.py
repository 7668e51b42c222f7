"""Which of the ways to bring pictures to a size a `transform_param` asks for: one, or none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from caffecompat import glog
from caffecompat.data.augment.random_aspect_ratio import RandomAspectRatio
from caffecompat.data.augment.random_resized_crop import RandomResizedCrop
from caffecompat.data.augment.sample import Sample
from caffecompat.data.augment.scale_jitter import ScaleJitter
from caffecompat.data.augment.short_side import RandomShortSide, ShortSide
from caffecompat.data.source import DataError, Request
from caffecompat.schema import pb

__all__ = ["Operation", "geometry", "named_geometry", "refuse_combinations"]

Operation = Callable[[Sample, np.random.Generator], Sample]

_JACINTO = tuple(
    f"{name}_{side}"
    for name in ("img_rand_resize", "rand_resize_ratio", "vertical_stretch", "horizontal_stretch")
    for side in ("lower", "upper")
)
_WAYS = (
    ("random_resized_crop_param",),
    ("random_aspect_ratio_param",),
    ("random_resize_param",),
    ("scale_min", "scale_max"),
    ("scale_factors",),
    ("short_side",),
    ("resize_param",),
    _JACINTO,
)
_TOGETHER = {"resize_param", *_JACINTO}  # NVCaffe's order: first Jacinto's, then resize_param


def named_geometry(param: pb.TransformationParameter) -> list[str]:
    """One field of each way to resize that a TransformationParameter names."""
    fields = {field.name for field, value in param.ListFields() if value}
    return [next(name for name in way if name in fields) for way in _WAYS if fields.intersection(way)]


def refuse_combinations(param: pb.TransformationParameter, *, resizes: bool) -> None:
    """Refuse two ways to bring pictures to a size; `resizes`: whether the layer obeys resize_param."""
    named = [name for name in named_geometry(param) if resizes or name != "resize_param"]
    if len(named) > 1 and not _TOGETHER.issuperset(named):
        raise DataError(
            f"transform_param has {named[0]} and {named[1]}, two ways to bring pictures to a size; give one of them"
        )


def geometry(request: Request, crop: tuple[int, int] | None, ignore_label: int) -> Operation | None:
    """What a layer's transform_param asks for, but for resize_param, scale_factors and Jacinto's random resize.

    Args:
        crop: its (height, width).
        ignore_label: what label pictures are padded with.
    """
    param = request.layer.transform_param
    cropped, jitter = RandomResizedCrop.of(param, crop), ScaleJitter.of(param)
    if cropped is not None and not request.train:
        glog.warning(
            f"{request.layer.name}: random_resized_crop_param is for TRAIN; in TEST the center of each picture is "
            "taken as it is (a layer for TEST may have short_side)"
        )
    if not request.train:
        cropped = jitter = None
    return (
        cropped
        or jitter
        or RandomAspectRatio.of(param, ignore_label)
        or RandomShortSide.of(param, crop, ignore_label)
        or ShortSide.of(param)
    )
