"""The graph as a torch.fx.GraphModule: one call a layer, named after it, printing as readable code."""

from __future__ import annotations

import keyword
import linecache
import operator
import weakref
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import fx, nn

from caffecompat.errors import CaffeCompatError
from caffecompat.layers import Precision
from caffecompat.net.graph import Graph
from caffecompat.net.identifiers import identifier
from caffecompat.net.layer import NetLayer, Value
from caffecompat.net.precision import in_half, in_single, rounded

__all__ = ["check_traceable", "make_module", "returned_values"]


# What every GraphModule has itself, those that its instances alone have included.
_ATTRIBUTES = frozenset(dir(fx.GraphModule(nn.Module(), fx.Graph())))


class _Names:
    """Python names for layers and blobs: unique, and none of the names that are taken already."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        self._taken: set[str] = set()
        self._reserved = {*taken, "self", "torch", "training"}

    def python_name(self, caffe_name: str) -> str:
        """``conv1/7x7_s2`` becomes ``conv1_7x7_s2``, ``3x3`` becomes ``_3x3``."""
        name = identifier(caffe_name)
        if keyword.iskeyword(name) or name in _ATTRIBUTES or name in self._reserved:
            name = f"{name}_"
        unique, count = name, 1
        while unique in self._taken:
            count += 1
            unique = f"{'' if name == '_' else name}_{count}"
        self._taken.add(unique)
        return unique


def make_module(
    name: str,
    graph: Graph,
    layers: Sequence[NetLayer],
    *,
    taken: Collection[str],
) -> tuple[fx.GraphModule, list[str]]:
    """Write the graph as a module.

    Args:
        taken: names that no layer may have, attributes of the object that the code runs on.

    Returns:
        The module, and the blob names of its placeholders in order: the tops of data and input layers.
    """
    root = nn.Module()
    program = fx.Graph()
    names = _Names(taken)
    nodes: dict[Value, fx.Node] = {}
    fed: list[str] = []
    # Placeholders go first, whatever the place of their layer, because fx wants them so.
    for layer in layers:
        if layer.module is None:
            for value in layer.top_values:
                nodes[value] = program.placeholder(names.python_name(value.blob))
                fed.append(value.blob)
    for layer in layers:
        if layer.module is None:
            continue
        layer.child = target = names.python_name(layer.name)
        root.add_module(target, layer.module)
        bottoms = []
        for position, read in enumerate(layer.bottom_values):
            assert read is not None
            bottom = nodes[read]
            cut = position < len(layer.param.propagate_down) and not layer.param.propagate_down[position]
            bottoms.append(program.call_method("detach", (bottom,)) if cut else bottom)
        if layer.precision in (Precision.HALF, Precision.ROUNDED):
            held = program.create_node("get_attr", target, name=names.python_name(f"{layer.name}_layer"))
            if layer.precision is Precision.HALF:
                call = _call_whole(program, in_half, (held, layer.half_type, *bottoms), target)
            else:
                call = _call_whole(program, rounded, (held, *bottoms), target)
        else:
            if layer.precision is Precision.SINGLE:  # where some layers compute in 16 bits, all say how
                bottoms = [_call_whole(program, in_single, (bottom,)) for bottom in bottoms]
            call = program.create_node("call_module", target, tuple(bottoms), name=target)
        if len(layer.top_values) == 1:
            nodes[layer.top_values[0]] = call
        else:
            for slot, made in enumerate(layer.top_values):
                top = names.python_name(made.blob)
                nodes[made] = program.create_node("call_function", operator.getitem, (call, slot), name=top)
    tops = {blob: nodes[value] for blob, value in returned_values(graph, layers).items()}
    if any(layer.precision for layer in layers):
        tops = {blob: _call_whole(program, in_single, (node,)) for blob, node in tops.items()}
    program.output(tops)
    module = fx.GraphModule(root, program, class_name=_Names().python_name(name or "Net"))
    module.train(any(layer.module.training for layer in layers if layer.module is not None))
    weakref.finalize(module, _forget_source, type(module).forward.__code__.co_filename).atexit = False
    return module, fed


def _forget_source(name: str) -> None:
    """Drop the source of a module that is gone, which torch and linecache hold for tracebacks ever after."""
    linecache.cache.pop(name, None)
    loader = getattr(fx.graph_module, "_loader", None)
    getattr(loader, "eval_cache", {}).pop(name, None)


def _call_whole(program: fx.Graph, function: Callable[..., Any], args: tuple[Any, ...], name: str = "") -> fx.Node:
    """Call a function that stays one call where the code is traced again, as unpickling a GraphModule does."""
    call = program.create_node("call_function", function, args, name=name or None)
    call.meta["is_wrapped"] = True
    return call


def returned_values(graph: Graph, layers: Sequence[NetLayer]) -> dict[str, Value]:
    """What a net returns, by blob: the values that no layer reads, and all that have a loss weight."""
    returned = {value.blob: value for value in graph.outputs}
    for layer in layers:
        returned.update({v.blob: v for v, w in zip(layer.top_values, layer.loss_weights, strict=False) if w})
    return returned


def check_traceable(layers: Sequence[NetLayer]) -> None:
    """Make sure that torch.export can follow what layers compute.

    Raises:
        CaffeCompatError: it cannot; the message names the layer.
    """
    for layer in layers:
        if layer.module is not None and layer.module.untraceable:
            raise CaffeCompatError(
                f"layer {layer.name!r} ({layer.type}) cannot be exported by torch.export: "
                f"{layer.module.untraceable}; export the net without it"
            )
