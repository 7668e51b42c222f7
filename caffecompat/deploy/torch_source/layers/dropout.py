"""Torch source of Dropout."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make, number


@emits("Dropout")
def dropout(c: LayerView) -> Emitted:
    if c.module.always:  # ENet's sample_weights_test: dropping at inference too
        return Emitted(call=f"F.dropout({{0}}, {number(c.module.ratio)}, training=True)")
    if c.module.factor != 1:  # R-CNN's scale_train: false
        return Emitted(call=f"F.dropout({{0}}, {number(c.module.ratio)}, self.training) * {number(c.module.factor)}")
    return Emitted(make("nn.Dropout", c.module.ratio))
