"""ONNX of DataAugmentation as it is at inference."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, UnsupportedLayer, emits
from caffecompat.deploy.onnx.weighted_resize import weigh_plane
from caffecompat.layers.functional.weighted_resize import crop_axis


@emits("DataAugmentation")
def data_augmentation(e: Emission) -> None:
    """The crop, whose last row and column are sums, and the mean."""
    m = e.module
    if not m.settled:
        raise UnsupportedLayer("its mean is still to be computed; load weights that have it")
    if len(e.tops) > 1:
        raise UnsupportedLayer("the coefficients of its second top are used in training only")
    value = e.bottoms[0]
    if m.crop is not None:
        axes = [crop_axis(*sizes) for sizes in zip(e.shape[2:], m.crop, strict=True)]
        value = weigh_plane(e, value, e.shape[2:], axes)
    if m.fixed_mean is not None:
        mean = e.const(np.reshape(m.fixed_mean, (1, -1, 1, 1)), what="mean")
    elif m.wanted:
        mean = e.parameter("mean_picture" if m.per_pixel else "mean_values")
    else:
        e.alias(0, value)
        return
    e.op("Sub", value, mean, to=e.tops[0])
