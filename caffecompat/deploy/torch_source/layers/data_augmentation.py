"""Torch source of DataAugmentation as it is at inference."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, UnsupportedLayer, emits, parameter, text_of


@emits("DataAugmentation")
def data_augmentation(c: LayerView) -> Emitted:
    m = c.module
    if not m.settled:
        raise UnsupportedLayer("its mean is still to be computed; load weights that have it")
    if len(c.tops) > 1:
        raise UnsupportedLayer("the coefficients of its second top are used in training only")
    value = "{0}" if m.crop is None else f"crop_center({{0}}, {text_of(tuple(m.crop))})"
    if m.fixed_mean is not None:
        mean = f"{{0}}.new_tensor({text_of(list(m.fixed_mean))}).view(1, -1, 1, 1)"
        return Emitted(call=f"{value} - {mean}")
    if not m.wanted:
        return Emitted(call=value)
    blob = c.blobs[1 if m.per_pixel else 2]
    return Emitted(parameter(blob, learned=False), f"{value} - {{self}}", {"": blob})
