"""ONNX of ENet's and PSPNet's BN."""

from __future__ import annotations

from caffecompat.deploy.onnx.emission import Emission, emits
from caffecompat.deploy.onnx.layers.normalization import by_batch, by_stored
from caffecompat.layers.bn import SEGNET_EPS


@emits("BN")
def bn(e: Emission) -> None:
    """ENet's and PSPNet's BN."""
    m, p = e.module, e.parameters
    if m.keeps_statistics:
        by_stored(e, p["scale"], p["shift"], p["mean"], p["variance"], m.eps)
    elif m.folded:
        product = e.op("Mul", e.bottoms[0], e.parameter("scale"))
        e.op("Add", product, e.parameter("shift"), to=e.tops[0])
    else:
        by_batch(e, e.tops, p["scale"], p["shift"], SEGNET_EPS)
