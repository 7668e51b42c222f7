"""Children of a net that its user has replaced, as torch's users do: ``net.fc = nn.Linear(500, 5)``.

The computation, ``state_dict`` and ``parameters`` follow by themselves, since they read the children. All that works
on Caffe's layers and blobs (files of weights, solvers, pycaffe's face) cannot, unless the new child is such a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from caffecompat.errors import CaffeCompatError
from caffecompat.layers import Layer
from caffecompat.net.layer import NetLayer

__all__ = ["adopt", "require_own_layers"]


def adopt(layer: NetLayer, module: nn.Module | None) -> bool:
    """Let a net's layer compute with a module of its own type with blobs of its shapes; whether it is such a module."""
    if not isinstance(module, Layer) or type(module) is not type(layer.module):
        return False
    if [tuple(blob.shape) for blob in module.blobs] != [slot.shape for slot in layer.slots]:
        return False
    layer.module = module
    for slot in layer.slots:
        slot.module = module
    return True


def require_own_layers(layers: Sequence[NetLayer], children: Mapping[str, nn.Module | None]) -> None:
    """Make sure that a net computes with Caffe's layers alone.

    Args:
        children: the net's, by name.

    Raises:
        CaffeCompatError: a child was replaced or removed, or one with parameters was added.
    """
    remedy = "keep its weights by torch.save(net.state_dict(), ...), or change the prototxt"
    own = {layer.child: layer for layer in layers if layer.module is not None}
    for name, layer in own.items():
        child = children.get(name)
        if child is not layer.module:
            became = f"was replaced by a {type(child).__name__}" if child is not None else "was removed"
            raise CaffeCompatError(f"layer {layer.name!r} ({layer.type}) {became}, which Caffe does not have; {remedy}")
    for name, child in children.items():
        if name not in own and child is not None and any(True for _ in child.parameters()):
            raise CaffeCompatError(
                f"{name!r} ({type(child).__name__}) is no layer of the prototxt, and has parameters; {remedy}"
            )
