"""Pictures of nets under the names of pycaffe's ``caffe.draw``; the drawing is done by ``caffecompat.report``."""

from __future__ import annotations

import os
from typing import Any

from caffecompat.report.net_drawing import draw_net_file, render
from caffecompat.report.net_graph import NetGraph, edge_label, layer_fill, layer_lines, make_graph

__all__ = [
    "choose_color_by_layertype",
    "draw_net",
    "draw_net_to_file",
    "get_edge_label",
    "get_layer_label",
    "get_pydot_graph",
]

get_edge_label = edge_label
choose_color_by_layertype = layer_fill


def get_layer_label(layer: Any, rankdir: str, display_lrm: bool = False) -> str:
    """What is written in a layer's box."""
    return "\n".join(layer_lines(layer, rankdir, display_lrm))


def get_pydot_graph(
    caffe_net: Any, rankdir: str, label_edges: bool = True, phase: int | None = None, display_lrm: bool = False
) -> NetGraph:
    """The graph of a NetParameter; its ``to_dot()`` is text for Graphviz."""
    return make_graph(caffe_net, rankdir, label_edges=label_edges, phase=phase, display_lrm=display_lrm)


def draw_net(
    caffe_net: Any, rankdir: str, ext: str = "png", phase: int | None = None, display_lrm: bool = False
) -> bytes:
    """A picture of a NetParameter as the bytes of a file.

    Args:
        rankdir: the way the net runs: "LR", "TB", "BT" or "RL".
        ext: "png", "svg", "dot", or what else Graphviz draws where it is installed.
        phase: draw only the layers of ``caffe.TRAIN`` or ``caffe.TEST``; None draws all.
        display_lrm: tell the learning-rate multipliers of convolutions.

    Raises:
        CaffeCompatError: only Graphviz draws `ext`, and it is not installed.
    """
    return render(get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm), ext)


def draw_net_to_file(
    caffe_net: Any,
    filename: str | os.PathLike[str],
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Draw a NetParameter into a file, whose extension says how; see :func:`draw_net`."""
    draw_net_file(caffe_net, filename, rankdir, phase=phase, display_lrm=display_lrm)
