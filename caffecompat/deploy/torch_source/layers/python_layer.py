"""Torch source of the Python layers that are known."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, UnsupportedLayer, emits, number
from caffecompat.deploy.torch_source.layers.proposal import proposals
from caffecompat.layers.proposal import PythonProposal
from caffecompat.layers.spatial_dropout import SpatialDropout


@emits("Python")
def python(c: LayerView) -> Emitted:
    """ENet's spatial dropout and py-faster-rcnn's proposals: what other Python layers compute is code of their own."""
    own = c.module.own
    if isinstance(own, PythonProposal):
        return proposals(c, own, keepdim=True)
    if not isinstance(own, SpatialDropout):
        where = c.param.python_param
        raise UnsupportedLayer(
            f"{where.module}.{where.layer} is opaque: its code does not run for an export, nor is it copied"
        )
    if own.drops:
        return Emitted(call=f"F.dropout2d({{0}}, {number(own.p)}, training=True)")
    return Emitted(call=f"{{0}} * {number(1 / (1 - own.p))}")
