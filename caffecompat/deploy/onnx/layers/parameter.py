"""ONNX of Parameter."""

from __future__ import annotations

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("Parameter")
def parameter(e: Emission) -> None:
    """The blob itself."""
    e.alias(0, e.parameter("value"))
