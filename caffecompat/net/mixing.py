"""A net without the layers that mix what it trains on, as it is tested and deployed."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.layers import class_of
from caffecompat.schema import pb

__all__ = ["bypass_mixing"]


def bypass_mixing(layers: Sequence[pb.LayerParameter]) -> list[int]:
    """Let what reads a layer that passes data and labels on in TEST (Mixup) read the data and labels themselves.

    Their bottoms are changed in place: labels are read as they come, class numbers, whatever form the layer gives them.

    Returns:
        The indices of all other layers.
    """
    others: list[int] = []
    renamed: dict[str, str] = {}
    for index, layer in enumerate(layers):
        layer.bottom[:] = [renamed.get(blob, blob) for blob in layer.bottom]
        if len(layer.bottom) > 1 and class_of(layer.type).passes_on(layer):
            renamed.update({top: layer.bottom[min(place, 1)] for place, top in enumerate(layer.top)})
            continue
        for top in layer.top:
            renamed.pop(top, None)
        others.append(index)
    return others
