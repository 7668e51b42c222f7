"""ONNX of Pooling3D."""

from __future__ import annotations

import math

import numpy as np
import torch

from caffecompat.deploy.onnx.emission import Emission, emits
from caffecompat.deploy.onnx.layers.pooling import LOWEST, average_windows, window_attributes


@emits("Pooling3D")
def pooling_3d(e: Emission) -> None:
    """MaxPool or AveragePool of a bottom with the margins that the windows see, means times what Caffe divides by."""
    window, averages = e.module.window, e.module.averages
    bottom, ends, none = e.bottoms[0], window.ends(e.shape[2:]), [0, 0, 0]
    if any([*window.pad, *ends]):
        bottom = e.pad(bottom, [0, 0, *window.pad], [0, 0, *ends], 0.0 if averages else LOWEST)
    if not averages:
        e.op("MaxPool", bottom, to=e.tops[0], **window_attributes(window, none, none))
        return
    areas = window.areas(torch.zeros(1, 1, *e.shape[2:])).numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.float32(math.prod(window.kernel)) / areas
    whole = bool((factors == 1).all())
    means = average_windows(e, bottom, window, none, none, False, e.tops[0] if whole else None)
    if not whole:
        e.op("Mul", means, e.const(factors, what="divisors"), to=e.tops[0])
