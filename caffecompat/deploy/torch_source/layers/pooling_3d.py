"""Torch source of Pooling3D."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make
from caffecompat.deploy.torch_source.layers.pooling import window_text


@emits("Pooling3D")
def pooling_3d(c: LayerView) -> Emitted:
    """torch's pooling, which has the same windows where none can start past the end, else C3D's own."""
    window, averages = c.module.window, c.module.averages
    if any(window.pad) or any(s > k for s, k in zip(window.stride, window.kernel, strict=True)):
        return Emitted(window_text(window), f"{'average' if averages else 'max'}_pool_3d({{0}}, {{self}})")
    name = "nn.AvgPool3d" if averages else "nn.MaxPool3d"
    return Emitted(make(name, window.kernel, stride=(window.stride, window.kernel), ceil_mode=(True, False)))
