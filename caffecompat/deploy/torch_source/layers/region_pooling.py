"""Torch source of ROIPooling and PSROIPooling."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, text_of


@emits("ROIPooling")
def roi_pooling(c: LayerView) -> Emitted:
    words = f"{text_of(c.module.cells)}, {text_of(c.module.scale)}"
    return Emitted(call=f"roi_max_pool({{0}}, {_rows(c)}, {words})")


@emits("PSROIPooling")
def psroi_pooling(c: LayerView) -> Emitted:
    words = f"{c.module.channels}, {c.module.side}, {text_of(c.module.scale)}"
    name = "roi_position_sensitive_pool"
    return Emitted(call=f"{name}({{0}}, {_rows(c)}, {words})")


def _rows(c: LayerView) -> str:
    return "{1}" if len(c.bottoms[1]) == 2 else "{1}.reshape(-1, 5)"
