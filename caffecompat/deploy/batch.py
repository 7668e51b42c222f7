"""Whether the first axis of a net's inputs is a batch of items of their own, or a size that the net needs."""

from __future__ import annotations

from collections.abc import Mapping

from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork
from caffecompat.layers import Context
from caffecompat.net import Net
from caffecompat.net.build import build_layers
from caffecompat.net.graph import build_graph
from caffecompat.net.layer import NetLayer, Shape, Value
from caffecompat.net.problems import Problem
from caffecompat.net.shapes import infer_shapes
from caffecompat.schema import pb

__all__ = ["BatchedNet", "batched_shapes", "fixed_batch", "what_fixes_batch"]


class BatchedNet:
    """A deployed net's layers and shapes, to be asked about other batches.

    Attributes:
        problem: what keeps it from being made at all; "" for nothing.
    """

    def __init__(self, message: pb.NetParameter, fork: Fork, relative_to: str | None) -> None:
        graph = build_graph(message, message)
        self.layers = graph.layers
        self.shapes, found = build_layers(graph, Context(pb.TEST, fork, relative_to, device="meta"), None, relative_to)
        problems = [*graph.problems, *found]
        self.problem = _described(self.layers, problems[0]) if problems else ""

    def refuses(self, inputs: Mapping[str, Shape]) -> str:
        """Which layer cannot work on these inputs, of another batch, and why; "" where all can."""
        try:
            infer_shapes(self.layers, dict(inputs))
        except CaffeCompatError as problem:
            return str(problem)
        return ""

    def what_fixes(self, inputs: Mapping[str, Shape]) -> str:
        """Which layer needs the batch that the net was made for, and why; "" where these inputs mean the same to it."""
        refused = self.refuses(inputs)
        if refused:
            return refused
        return what_fixes_batch(self.layers, self.shapes, infer_shapes(self.layers, dict(inputs)))


def _described(layers: list[NetLayer], problem: Problem) -> str:
    layer = layers[problem.layer] if problem.layer is not None else None
    return f"layer {layer.name!r} ({layer.type}): {problem.text}" if layer else problem.text


def batched_shapes(net: Net, batch: int) -> dict[str, Shape]:
    """The shapes of a net's fed blobs with another batch, but for those that have none (priors)."""
    modules = [(layer, layer.module.unbatched) for layer in net.layers if layer.module is not None]
    alike = {layer.bottoms[place] for layer, places in modules for place in places if place < len(layer.bottoms)}
    return {blob: shape if blob in alike else (batch, *shape[1:]) for blob, shape in net.fed_shapes.items()}


def fixed_batch(net: Net) -> str:
    """Which layer of a net needs the batch that it has, and why; "" where it works on any."""
    before, ours = net.fed_shapes, net.value_shapes
    if not before:
        return "nothing is fed to the net"
    if not all(before.values()):
        return "an input is a single value, which has no batch"
    try:
        net.reshape(batched_shapes(net, max(shape[0] for shape in before.values()) + 1))
        return what_fixes_batch(net.layers, ours, net.value_shapes)
    except CaffeCompatError as problem:
        return str(problem)
    finally:
        net.reshape(before)


def what_fixes_batch(layers: list[NetLayer], ours: Mapping[Value, Shape], others: Mapping[Value, Shape]) -> str:
    """The first layer for which the first axis is no batch of items of their own; "" where there is none.

    That is a layer whose type mixes items, or whose tops do not grow along their first axis as the net's inputs do.

    Args:
        ours, others: shapes of all values for two batches.
    """
    fed = next((value for value in ours if layers[value.maker].module is None and ours[value] != others[value]), None)
    if fed is None:
        return ""
    one, other = ours[fed][0], others[fed][0]
    for layer in layers:
        if layer.module is None:
            continue
        head = f"layer {layer.name!r} ({layer.type}): "
        if layer.module.mixes_items:
            return f"{head}{layer.module.mixes_items}"
        for top in layer.top_values:
            mine, theirs = ours[top], others[top]
            grows = mine[1:] == theirs[1:] and mine[:1] and mine[0] * other == theirs[0] * one
            if mine != theirs and not grows:
                return f"{head}its top {top.blob!r} is {mine} for a batch of {one} and {theirs} for {other}"
    return ""
