"""A net as boxes and arrows: what pycaffe's ``draw`` shows, and its text for Graphviz."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from caffecompat.report.net_blocks import find_repeats, make_units
from caffecompat.schema import NetDocument, as_phase, pb
from caffecompat.schema.data_layers import batch_sizes, data_layer

__all__ = ["RANKDIRS", "Edge", "NetGraph", "Node", "edge_label", "layer_fill", "layer_lines", "make_graph"]

RANKDIRS = ("LR", "TB", "BT", "RL")

_BLOB, _LAYER, _IN_PLACE, _FOLDED = "#E0E0E0", "#6495ED", "#90EE90", "#FFF2B3"
_FILLS = {"Convolution": "#FF5050", "Deconvolution": "#FF5050", "Pooling": "#FF9900", "InnerProduct": "#CC33FF"}


@dataclass(frozen=True)
class Node:
    """A layer (a box) or a blob (an octagon)."""

    lines: tuple[str, ...]
    shape: str
    fill: str


@dataclass(frozen=True)
class Edge:
    """An arrow from node `tail` to node `head`, both by key."""

    tail: str
    head: str
    label: str = ""


@dataclass
class NetGraph:
    """Nodes by key in the order of the net, and edges; `rankdir` is the way the net runs, as Graphviz spells it."""

    name: str
    rankdir: str
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    folded: dict[str, tuple[str, ...]] = field(default_factory=dict)  # text of the boxes in place of repeated blocks

    def to_dot(self) -> str:
        """The graph in Graphviz's language."""
        lines = [f"digraph {_quoted(self.name or 'Net')} {{", f"rankdir={self.rankdir};"]
        numbers = {key: f"n{index}" for index, key in enumerate(self.nodes)}
        for key, node in self.nodes.items():
            label = _quoted(*node.lines)
            lines.append(f'{numbers[key]} [label={label}, shape={node.shape}, style=filled, fillcolor="{node.fill}"];')
        for edge in self.edges:
            label = f" [label={_quoted(edge.label)}]" if edge.label else ""
            lines.append(f"{numbers[edge.tail]} -> {numbers[edge.head]}{label};")
        return "\n".join([*lines, "}", ""])


def make_graph(
    net: pb.NetParameter,
    rankdir: str = "LR",
    *,
    label_edges: bool = True,
    phase: int | str | None = None,
    display_lrm: bool = False,
    fold: bool = False,
) -> NetGraph:
    """The picture of a NetParameter of any age.

    Args:
        rankdir: "LR", "TB", "BT" or "RL".
        label_edges: write on a layer's outgoing arrows what it makes (outputs, batch size).
        phase: draw only the layers of TRAIN (0) or TEST (1), or so called; None draws all.
        display_lrm: show the learning-rate multipliers of convolutions.
        fold: of blocks of the same structure in a row, draw the first one, and a box in place of the others.

    Raises:
        ValueError: rankdir is not one of the four.
    """
    if rankdir not in RANKDIRS:
        raise ValueError(f"rankdir {rankdir!r} is not one of {', '.join(RANKDIRS)}")
    number = None if phase is None else as_phase(phase)
    message = NetDocument.from_message(net).message
    graph = NetGraph(message.name, rankdir)
    layers = [layer for layer in message.layer if number is None or _in_phase(layer, number)]
    hidden = _fold(graph, layers) if fold else {}
    users: dict[str, set[str]] = defaultdict(set)
    for index, layer in enumerate(layers):
        for blob in (*layer.bottom, *layer.top):
            users[blob].add(hidden.get(index, ""))
    for index, layer in enumerate(layers):
        if index in hidden:
            _add_folded(graph, hidden[index], layer, users)
            continue
        key = f"{layer.name}_{layer.type}"
        for blob in layer.bottom:
            graph.nodes.setdefault(f"{blob}_blob", Node((blob,), "octagon", _BLOB))
            graph.edges.append(Edge(f"{blob}_blob", key))
        fill = _IN_PLACE if list(layer.bottom) == list(layer.top) and len(layer.top) == 1 else layer_fill(layer.type)
        graph.nodes[key] = Node(layer_lines(layer, rankdir, display_lrm), "box", fill)
        for blob in layer.top:
            graph.nodes.setdefault(f"{blob}_blob", Node((blob,), "octagon", _BLOB))
            graph.edges.append(Edge(key, f"{blob}_blob", edge_label(layer) if label_edges else ""))
    return graph


def _fold(graph: NetGraph, layers: Sequence[pb.LayerParameter]) -> dict[int, str]:
    """Layers that are not drawn, each with the key of the box in their place; the box's text is in the graph."""
    units = make_units(layers)
    hidden: dict[int, str] = {}
    for repeat in find_repeats(layers, units):
        first = sum(len(unit.layers) for unit in units[repeat.start : repeat.start + repeat.length])
        rest = sorted(at for unit in units[repeat.start + repeat.length : repeat.end] for at in unit.layers)
        key = f"folded {len(graph.folded)}"
        count = repeat.count - 1
        graph.folded[key] = (
            f"{count} more block{'s' * (count > 1)} like the one before",
            f"{'each of ' * (count > 1)}{first} layers",
            f"{layers[rest[0]].name} to {layers[rest[-1]].name}",
        )
        hidden.update(dict.fromkeys(rest, key))
    return hidden


def _add_folded(graph: NetGraph, key: str, layer: pb.LayerParameter, users: Mapping[str, set[str]]) -> None:
    """Draw what a layer in a folded block reads of, and makes for, layers outside of its box.

    Args:
        users: of each blob, the boxes of the layers that read or make it; "" of those that are drawn.
    """
    lines = graph.folded[key]
    graph.nodes.setdefault(key, Node((" ".join(lines),) if graph.rankdir in ("TB", "BT") else lines, "box", _FOLDED))
    for blob in (*layer.bottom, *layer.top):
        if users[blob] == {key}:
            continue
        graph.nodes.setdefault(f"{blob}_blob", Node((blob,), "octagon", _BLOB))
        edge = Edge(key, f"{blob}_blob") if blob in layer.top else Edge(f"{blob}_blob", key)
        if edge not in graph.edges:
            graph.edges.append(edge)


def layer_lines(layer: pb.LayerParameter, rankdir: str, display_lrm: bool = False) -> tuple[str, ...]:
    """What is written in a layer's box: one line where the net runs up or down, several where it runs sideways."""
    parts = [layer.name, f"({layer.type})"]
    if layer.type in ("Convolution", "Deconvolution"):
        p = layer.convolution_param
        parts.append(_size("kernel size", p.kernel_size, p.kernel_h, p.kernel_w, 1))
        parts.append(_size("stride", p.stride, p.stride_h, p.stride_w, 1))
        parts.append(_size("pad", p.pad, p.pad_h, p.pad_w, 0))
        if display_lrm:
            multipliers = [f"{param.lr_mult:.1f}" for param in layer.param] or ["1.0"]
            parts.append(f"lr mult: {', '.join(multipliers)}")
    elif layer.type == "Pooling":
        pool = layer.pooling_param
        kernel = _size("kernel size", [pool.kernel_size], pool.kernel_h, pool.kernel_w, 1)
        parts[1] = f"({pb.PoolingParameter.PoolMethod.Name(pool.pool)} {layer.type})"
        parts.append("global" if pool.global_pooling else kernel)
        parts.append(_size("stride", [pool.stride], pool.stride_h, pool.stride_w, 1))
        parts.append(_size("pad", [pool.pad], pool.pad_h, pool.pad_w, 0))
    return (" ".join(parts),) if rankdir in ("TB", "BT") else tuple(parts)


def _size(what: str, sizes: Sequence[int], height: int, width: int, default: int) -> str:
    given = list(dict.fromkeys((height, width))) if height or width else list(sizes) or [default]
    return f"{what}: {'x'.join(map(str, given))}"


def edge_label(layer: pb.LayerParameter) -> str:
    """What is written on the arrows that leave a layer."""
    if data_layer(layer.type) is not None:
        return next((f"Batch {size}" for _, size in batch_sizes(layer)), "")
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    return str(layer.inner_product_param.num_output) if layer.type == "InnerProduct" else ""


def layer_fill(layer_type: str) -> str:
    """The color of a layer's box."""
    return _FILLS.get(layer_type, _LAYER)


def _in_phase(layer: pb.LayerParameter, phase: int) -> bool:
    if layer.include:
        return any(not rule.HasField("phase") or rule.phase == phase for rule in layer.include)
    return not any(rule.HasField("phase") and rule.phase == phase for rule in layer.exclude)


def _quoted(*lines: str) -> str:
    """Lines as a string of Graphviz."""
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'
