"""What can be wrong with an export to ONNX."""

from __future__ import annotations

from caffecompat.errors import CaffeCompatError

__all__ = ["OnnxError"]


class OnnxError(CaffeCompatError):
    """A net cannot be written as ONNX, or not with these options."""
