"""ONNX of the Python layers that are known."""

from __future__ import annotations

from caffecompat.deploy.onnx.emission import Emission, UnsupportedLayer, emits
from caffecompat.deploy.onnx.layers.proposal import proposals
from caffecompat.layers.proposal import PythonProposal
from caffecompat.layers.spatial_dropout import SpatialDropout


@emits("Python")
def python(e: Emission) -> None:
    """py-faster-rcnn's proposals and ENet's spatial dropout in its TEST form; other Python layers are users' code."""
    own = e.module.own
    if isinstance(own, PythonProposal):
        proposals(e, own)
        return
    if not isinstance(own, SpatialDropout):
        where = e.module.param.python_param
        raise UnsupportedLayer(
            f"{where.module}.{where.layer} is opaque: its code does not run for an export, nor can it become ONNX"
        )
    if own.drops:
        raise UnsupportedLayer(
            "its param_str says phase TRAIN, which drops at random; write 'TEST' there for deployment"
        )
    e.scaled(e.bottoms[0], 1 / (1 - own.p), 0, e.tops[0])
