"""ONNX of Dropout."""

from __future__ import annotations

from caffecompat.deploy.onnx.emission import Emission, UnsupportedLayer, emits


@emits("Dropout")
def dropout(e: Emission) -> None:
    """Nothing: the value passes, but for a factor where R-CNN's `scale_train: false` asks for one."""
    if e.module.always:
        raise UnsupportedLayer(
            "sample_weights_test drops values at inference too; an ONNX file cannot be random. Remove it"
        )
    if e.module.factor == 1:
        e.alias(0, e.bottoms[0])
    else:
        e.scaled(e.bottoms[0], e.module.factor, 0, e.tops[0])
