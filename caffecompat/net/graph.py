"""The typed graph: every assignment of a blob is a value of its own, so in-place layers are plain data flow."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from caffecompat.layers import layer_class
from caffecompat.net.filter import left_out
from caffecompat.net.layer import NetLayer, Value
from caffecompat.net.problems import Problem
from caffecompat.schema import pb
from caffecompat.wording import did_you_mean, few

__all__ = ["AUTOMATIC", "Graph", "build_graph", "needed_layers", "with_automatic_tops"]

_SEARCHED = 20  # missing blobs whose near names are searched for
_NAMED = 8  # blobs listed where none is near
AUTOMATIC = "(automatic)"  # what Caffe's log calls the top of a loss layer that names none


@dataclass
class Graph:
    """Layers in the order of the file, with what they read and make.

    `outputs` are the values that nobody reads, by blob name as Caffe sorts them.
    """

    layers: list[NetLayer]
    outputs: list[Value]
    problems: list[Problem]


def with_automatic_tops(param: pb.LayerParameter) -> pb.LayerParameter:
    """`param`, or a copy with the tops that a loss layer makes unnamed (BVLC ``AutoTopBlobs``)."""
    cls = layer_class(param.type)
    missing = max(1, cls.tops[0]) - len(param.top) if cls is not None and cls.is_loss else 0
    if missing <= 0:
        return param
    complete = type(param)()
    complete.CopyFrom(param)
    complete.top.extend(f"{AUTOMATIC} {param.name}{i or ''}" for i in range(missing))
    return complete


def build_graph(message: pb.NetParameter, whole: pb.NetParameter | None = None) -> Graph:
    """Resolve the blob names of a filtered NetParameter.

    Args:
        message: the layers that belong to the net's state.
        whole: the prototxt before filtering, to explain a blob whose maker was left out.

    A top may carry the name of an older blob only in place, that is at the same
    position among the layer's bottoms (BVLC ``Net::AppendTop``).
    """
    layers: list[NetLayer] = []
    problems: list[Problem] = []
    current: dict[str, Value] = {}
    unread: dict[str, Value] = {}
    missing = _Missing(message, whole)
    for index, given in enumerate(message.layer):
        param = with_automatic_tops(given)
        layer = NetLayer(index, param)
        layers.append(layer)
        for blob in param.bottom:
            value = current.get(blob)
            layer.bottom_values.append(value)
            unread.pop(blob, None)
            if value is None:
                problems.append(Problem(index, missing.explain(blob, index, current)))
        for slot, blob in enumerate(param.top):
            older = current.get(blob)
            in_place = slot < len(param.bottom) and param.bottom[slot] == blob
            if older is not None and not in_place:
                problems.append(
                    Problem(
                        index,
                        f"top {blob!r} is made by layer {message.layer[older.maker].name!r} already; "
                        f"rename one of them (in place works only where bottom and top stand at the same position)",
                    )
                )
            value = Value(blob, older.version + 1 if older else 0, index, slot)
            layer.top_values.append(value)
            current[blob] = unread[blob] = value
    # An unnamed top is no output of the net (it never enters Caffe's available blobs), only part of the loss.
    outputs = [unread[blob] for blob in sorted(unread) if not blob.startswith(AUTOMATIC)]
    return Graph(layers, outputs, problems)


def needed_layers(layers: Sequence[NetLayer], values: Iterable[Value]) -> set[int]:
    """Indices of the layers that make `values`, and of all that these depend on."""
    needed: set[int] = set()
    waiting = [value.maker for value in values]
    while waiting:
        index = waiting.pop()
        if index not in needed:
            needed.add(index)
            waiting += [value.maker for value in layers[index].known_bottoms]
    return needed


class _Missing:
    """Explains bottoms that no layer makes; the search for near names ends after the first few different blobs."""

    def __init__(self, message: pb.NetParameter, whole: pb.NetParameter | None) -> None:
        self.state = message.state
        self.makers = _makers(message)
        self.whole = whole
        self.searched: dict[str, str] = {}

    @cached_property
    def _left_out(self) -> dict[str, list[tuple[int, pb.LayerParameter]]]:
        return _makers(self.whole) if self.whole is not None else {}

    def explain(self, blob: str, index: int, known: Collection[str]) -> str:
        """Why bottom `blob` of layer `index` is not there, and what may have been meant."""
        head = f"bottom {blob!r} is not made by any layer above"
        makers = self.makers.get(blob, [])
        if makers and makers[-1][0] >= index:
            later = makers[bisect_left(makers, index, key=lambda maker: maker[0])][1]
            return f"{head}; layer {later.name!r} makes it further down: move that layer up"
        if blob in self._left_out:
            layer = min((layer for _, layer in self._left_out[blob]), key=lambda layer: left_out(layer, self.state))
            given = not layer.bottom and self.state.stage  # a data layer of another stage
            why = left_out(layer, self.state).text
            return f"{head}; layer {layer.name!r} makes it, but {why}{_input_advice(blob, self.state) if given else ''}"
        if not known:
            return head + _input_advice(blob, self.state)
        if blob not in self.searched and len(self.searched) < _SEARCHED:
            near = did_you_mean(blob, known, quoted=True)
            self.searched[blob] = near or f"; there are: {few(sorted(known), _NAMED)}"
        return head + self.searched.get(blob, "")


def _makers(message: pb.NetParameter) -> dict[str, list[tuple[int, pb.LayerParameter]]]:
    """Blobs and the layers that make them, with their indices, in order."""
    made: dict[str, list[tuple[int, pb.LayerParameter]]] = {}
    for index, layer in enumerate(message.layer):
        for blob in layer.top:
            made.setdefault(blob, []).append((index, layer))
    return made


def _input_advice(blob: str, state: pb.NetState) -> str:
    """How to give a net a blob from outside."""
    rule = "".join(f' include {{ stage: "{stage}" }}' for stage in state.stage[:1])
    return (
        f'; if it comes from outside, add layer {{ name: "{blob}" type: "Input" top: "{blob}" '
        f"input_param {{ shape {{ dim: 1 dim: 3 dim: 224 dim: 224 }} }}{rule} }} with its shape"
    )
