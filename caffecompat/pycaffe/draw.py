"""Pictures of nets under the names of pycaffe's ``caffe.draw``; the drawing is done by ``caffecompat.report``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from caffecompat.formats.atomic import atomic_write
from caffecompat.report.net_drawing import draw_net_file, render
from caffecompat.report.net_graph import NetGraph, edge_label, layer_fill, layer_lines, make_graph
from caffecompat.schema import pb

__all__ = [
    "Dot",
    "choose_color_by_layertype",
    "draw_net",
    "draw_net_to_file",
    "get_edge_label",
    "get_layer_label",
    "get_pydot_graph",
]

get_edge_label = edge_label
choose_color_by_layertype = layer_fill


def get_layer_label(layer: pb.LayerParameter, rankdir: str, display_lrm: bool = False) -> str:
    """What is written in a layer's box."""
    return "\n".join(layer_lines(layer, rankdir, display_lrm))


class Dot:
    """What scripts do with a ``pydot.Dot``: ``create_png()``, ``write_svg(path)``, ``to_string()``, ...

    Args:
        graph: what it is of; its nodes and edges can be read there.
    """

    def __init__(self, graph: NetGraph) -> None:
        self.graph = graph

    def to_string(self) -> str:
        """The text for Graphviz."""
        return self.graph.to_dot()

    def create(self, prog: object = None, format: str = "png", encoding: str | None = None) -> bytes:
        """A picture as the bytes of a file; `prog` and `encoding` are pydot's, and without effect.

        Raises:
            CaffeCompatError: only Graphviz draws `format`, and it is not installed.
        """
        return render(self.graph, "dot" if format == "raw" else format)

    def write(
        self, path: str | os.PathLike[str], prog: object = None, format: str = "raw", encoding: str | None = None
    ) -> bool:
        """Write a picture, or with the format "raw" the text for Graphviz, to a file; returns True, as pydot does."""
        made = self.create(format=format)
        with atomic_write(Path(path)) as file:
            file.write(made)
        return True

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """``create_FORMAT()`` and ``write_FORMAT(path)``."""
        action, _, kind = name.partition("_")
        if action not in ("create", "write") or not kind:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if action == "create":
            return lambda prog=None, encoding=None: self.create(format=kind)
        return lambda path, prog=None, encoding=None: self.write(path, format=kind)


def get_pydot_graph(
    caffe_net: pb.NetParameter,
    rankdir: str,
    label_edges: bool = True,
    phase: int | str | None = None,
    display_lrm: bool = False,
) -> Dot:
    """The graph of a NetParameter, with the methods of a ``pydot.Dot``; arguments as of :func:`draw_net`.

    Example:
        ``caffe.draw.get_pydot_graph(net, "LR").write_png("net.png")``
    """
    return Dot(make_graph(caffe_net, rankdir, label_edges=label_edges, phase=phase, display_lrm=display_lrm))


def draw_net(
    caffe_net: pb.NetParameter,
    rankdir: str,
    ext: str = "png",
    phase: int | str | None = None,
    display_lrm: bool = False,
) -> bytes:
    """A picture of a NetParameter as the bytes of a file.

    Args:
        rankdir: the way the net runs: "LR", "TB", "BT" or "RL".
        ext: "png", "svg", "dot", or what else Graphviz draws where it is installed.
        phase: draw only the layers of ``caffe.TRAIN`` or ``caffe.TEST``; None draws all.
        display_lrm: show the learning-rate multipliers of convolutions.

    Raises:
        CaffeCompatError: only Graphviz draws `ext`, and it is not installed.
    """
    return get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm).create(format=ext)


def draw_net_to_file(
    caffe_net: pb.NetParameter,
    filename: str | os.PathLike[str],
    rankdir: str = "LR",
    phase: int | str | None = None,
    display_lrm: bool = False,
) -> None:
    """Draw a NetParameter into a file, whose extension says how; see :func:`draw_net`."""
    draw_net_file(caffe_net, filename, rankdir, phase=phase, display_lrm=display_lrm)
