"""The typed graph: every assignment of a blob is a value of its own, so in-place layers are plain data flow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from caffecompat.layers import layer_class
from caffecompat.net.problems import Problem
from caffecompat.schema.names import nearest

__all__ = ["AUTOMATIC", "Graph", "Node", "Value", "build_graph", "needed_nodes", "with_automatic_tops"]

AUTOMATIC = "(automatic)"  # what Caffe's log calls the top of a loss layer that names none


@dataclass(frozen=True)
class Value:
    """What a layer puts under a blob's name.

    ``conv1`` behind the convolution and ``conv1`` behind the ReLU working in
    place are versions 0 and 1 of one blob.
    """

    blob: str
    version: int
    node: int
    slot: int


@dataclass
class Node:
    """A layer with its bottoms and tops as values; a bottom that nothing makes is None."""

    index: int
    param: Any
    bottoms: list[Value | None] = field(default_factory=list)
    tops: list[Value] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.param.name)

    @property
    def type(self) -> str:
        return str(self.param.type)


@dataclass
class Graph:
    """Nodes in the order of the file; `outputs` are the values nobody reads, by blob name as Caffe sorts them."""

    nodes: list[Node]
    outputs: list[Value]
    problems: list[Problem]


def with_automatic_tops(param: Any) -> Any:
    """`param`, or a copy with the tops that a loss layer makes unnamed (BVLC ``AutoTopBlobs``)."""
    cls = layer_class(param.type)
    missing = max(1, cls.tops[0]) - len(param.top) if cls is not None and cls.is_loss else 0
    if missing <= 0:
        return param
    complete = type(param)()
    complete.CopyFrom(param)
    complete.top.extend(f"{AUTOMATIC} {param.name}{i or ''}" for i in range(missing))
    return complete


def build_graph(message: Any, whole: Any = None) -> Graph:
    """Resolve the blob names of a filtered NetParameter.

    Args:
        message: the layers that belong to the net's state.
        whole: the prototxt before filtering, to explain a blob whose maker was left out.

    A top may carry the name of an older blob only in place, that is at the same
    position among the layer's bottoms (BVLC ``Net::AppendTop``).
    """
    nodes: list[Node] = []
    problems: list[Problem] = []
    current: dict[str, Value] = {}
    unread: dict[str, Value] = {}
    for index, given in enumerate(message.layer):
        param = with_automatic_tops(given)
        node = Node(index, param)
        nodes.append(node)
        for blob in param.bottom:
            value = current.get(blob)
            node.bottoms.append(value)
            unread.pop(blob, None)
            if value is None:
                problems.append(Problem(index, _explain_missing(blob, index, message, whole, list(current))))
        for slot, blob in enumerate(param.top):
            older = current.get(blob)
            in_place = slot < len(param.bottom) and param.bottom[slot] == blob
            if older is not None and not in_place:
                problems.append(
                    Problem(
                        index,
                        f"top {blob!r} is made by layer {message.layer[older.node].name!r} already; "
                        f"rename one of them (in place works only where bottom and top stand at the same position)",
                    )
                )
            value = Value(blob, older.version + 1 if older else 0, index, slot)
            node.tops.append(value)
            current[blob] = unread[blob] = value
    # An unnamed top is no output of the net (it never enters Caffe's available blobs), only part of the loss.
    outputs = [unread[blob] for blob in sorted(unread) if not blob.startswith(AUTOMATIC)]
    return Graph(nodes, outputs, problems)


def needed_nodes(graph: Graph, values: Iterable[Value]) -> set[int]:
    """Indices of the nodes that make `values`, and of all that these depend on."""
    needed: set[int] = set()
    waiting = [value.node for value in values]
    while waiting:
        index = waiting.pop()
        if index not in needed:
            needed.add(index)
            waiting += [value.node for value in graph.nodes[index].bottoms if value is not None]
    return needed


def _explain_missing(blob: str, index: int, message: Any, whole: Any, known: Sequence[str]) -> str:
    """Why bottom `blob` of layer `index` is not there, and what may have been meant."""
    head = f"bottom {blob!r} is not made by any layer above"
    for later in message.layer[index:]:
        if blob in later.top:
            return f"{head}; layer {later.name!r} makes it further down: move that layer up"
    for layer in whole.layer if whole is not None else ():
        if blob in layer.top:
            return f"{head}; layer {layer.name!r} makes it, but its include/exclude rules leave it out of this phase"
    close = nearest(blob, known)
    if close:
        return f"{head}; did you mean {close!r}?"
    return f"{head}; there are: {', '.join(sorted(known)) or 'none'}"
