"""Torch source of Pooling3D."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, UnsupportedLayer, emits, make


@emits("Pooling3D")
def pooling_3d(c: LayerView) -> Emitted:
    """torch's pooling, which has the same windows where none can start past the end."""
    window = c.module.window
    if any(window.pad) or any(s > k for s, k in zip(window.stride, window.kernel, strict=True)):
        raise UnsupportedLayer("windows of Pooling3D with a pad, or that do not touch, are others than torch's")
    name = "nn.AvgPool3d" if c.module.averages else "nn.MaxPool3d"
    return Emitted(make(name, window.kernel, stride=(window.stride, window.kernel), ceil_mode=(True, False)))
