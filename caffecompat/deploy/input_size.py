"""Which input sizes a net can work on, for messages about one that it cannot."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.errors import CaffeCompatError
from caffecompat.layers import Context
from caffecompat.net.build import build_layers
from caffecompat.net.graph import build_graph
from caffecompat.schema import NetDocument, pb

__all__ = ["fitting_sizes"]

_MULTIPLES = (2, 4, 8, 16, 32, 64, 128)
_FACTORS = (2, 4, 8)


def fitting_sizes(
    document: NetDocument, size: tuple[int, int], *, level: int | None = None, stages: Sequence[str] = ()
) -> str:
    """A sentence about input sizes near one that a net cannot work on; "" where the net works on it, or none is found.

    Nets that halve their picture and join the halves with enlarged ones (U-Net, ESPNet, FPN) want heights and widths
    that are multiples of 8, 32, ...; others want a least size.

    Args:
        document: a deploy or train_val net.
        size: (height, width).

    Example:
        "heights and widths that are multiples of 8 fit, as in 1000x504"
    """
    if _fits(document, size, level, stages):
        return ""
    for factor in _FACTORS:
        larger = (size[0] * factor, size[1] * factor)
        if _fits(document, larger, level, stages) and _fits(document, (larger[0] + 1, larger[1] + 1), level, stages):
            return f"larger pictures fit, as in {larger[1]}x{larger[0]}"
    for multiple in _MULTIPLES:
        below, above = _neighbors(size, multiple)
        if _fits(document, below, level, stages) and _fits(document, above, level, stages):
            height, width = min((below, above), key=lambda near: abs(near[0] - size[0]) + abs(near[1] - size[1]))
            return f"heights and widths that are multiples of {multiple} fit, as in {width}x{height}"
    return ""


def _neighbors(size: tuple[int, int], multiple: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The multiples next to a size: those at or below it (at least one), and those after them."""
    height, width = (max(1, extent // multiple) * multiple for extent in size)
    return (height, width), (height + multiple, width + multiple)


def _fits(document: NetDocument, size: tuple[int, int], level: int | None, stages: Sequence[str]) -> bool:
    try:
        message = deploy_net(document, size=size, level=level, stages=stages).message
        graph = build_graph(message, message)
        shapes_alone = Context(pb.TEST, document.fork, document.path, device="meta")
        _, problems = build_layers(graph, shapes_alone, None, document.path)
    except CaffeCompatError:
        return False
    return not problems and not graph.problems
