"""ONNX of DropPath."""

from __future__ import annotations

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("DropPath")
def drop_path(e: Emission) -> None:
    """Nothing: the value passes."""
    e.alias(0, e.bottoms[0])
