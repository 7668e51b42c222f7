"""ONNX of Embed."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("Embed")
def embed(e: Emission) -> None:
    """Gather of the weight's rows."""
    index = e.cast(e.bottoms[0], np.int64)
    bias = e.module.bias is not None
    rows = e.op("Gather", e.parameter("weight"), index, to=None if bias else e.tops[0], axis=0)
    if bias:
        e.op("Add", rows, e.parameter("bias"), to=e.tops[0])
