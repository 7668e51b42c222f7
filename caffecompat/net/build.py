"""From a prototxt to layers: every layer gets its module or source, and every value its shape."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from caffecompat import glog
from caffecompat.errors import CaffeCompatError, notes
from caffecompat.forks import Fork
from caffecompat.layers import Context, layer_class, layer_types
from caffecompat.memory import is_out_of_memory, out_of_memory
from caffecompat.net.alignment import align_crops, crop_discrepancies
from caffecompat.net.backward_needs import mark_needs
from caffecompat.net.filter import filter_net, make_state
from caffecompat.net.graph import Graph, build_graph
from caffecompat.net.layer import MakeSource, NetLayer, Shape, Step, Value
from caffecompat.net.learning import Learning
from caffecompat.net.meta import shape_key
from caffecompat.net.params import LearnableParam, collect_params, make_slots
from caffecompat.net.precision import scale_problems
from caffecompat.net.problems import NetError, Problem, described
from caffecompat.net.quantization_plan import quantization_problems
from caffecompat.net.shapes import TORCH_REFUSES, made_shapes, refusal
from caffecompat.net.splits import put_splits
from caffecompat.schema import NetDocument, dialects, pb, write_text
from caffecompat.schema.data_layers import data_layer, data_layer_types, is_input
from caffecompat.schema.odd_numbers import odd_numbers
from caffecompat.wording import nearest

__all__ = ["BuiltNet", "build_layers", "build_net"]


@dataclass
class BuiltNet:
    """What a net is made of.

    Attributes:
        message: the NetParameter filtered by its state.
        graph: its layers, with what computes or feeds them.
        shapes: of all values.
        params: the learnable parameters in Caffe's order.
        steps: the layers and Splits as Caffe runs them.
    """

    message: pb.NetParameter
    graph: Graph
    shapes: dict[Value, Shape]
    params: list[LearnableParam]
    steps: list[Step]


def build_net(
    document: NetDocument,
    context: Context,
    *,
    level: int | None,
    stages: Sequence[str],
    sources: MakeSource | None,
    log: bool,
    learning: Learning,
) -> BuiltNet:
    """Filter a prototxt by its state and make its layers.

    Args:
        level, stages, sources, log, learning: as for :class:`caffecompat.Net`.

    Raises:
        NetError: the prototxt makes no net; all problems at once.
    """
    if document.path and not document.message.layer:
        raise NetError([f"{document.path}: has no layers; an empty or cut-off file, or not a net"])
    state = make_state(document.message, context.phase, level, stages)
    say: Callable[[str, str], None] = glog.info if log else _silent
    message, kept, problems = filter_net(document.message, state, lambda line: say(line, "net.cpp:296"))
    if not document.fork_choice.why:  # else said when the text was read
        say(f"{document.path}: {document.fork_choice}", "net.cpp:49")
    if log:
        glog.info(f"Initializing net from parameters: \n{write_text(message).rstrip()}", "net.cpp:53")
    graph = build_graph(message, document.message)
    shapes, made_badly = build_layers(graph, context, sources, document.relative_to)
    found = scale_problems(message) + quantization_problems(message) + graph.problems + made_badly
    found += _check_layers(graph.layers)
    learning.apply(graph.layers)
    params, more = collect_params(graph.layers, message.force_backward)
    places = [p if p.layer is None else Problem(kept[p.layer], p.text) for p in found + more]
    if problems or places:
        for layer in graph.layers:
            layer.close()
        raise NetError(described(document, problems + places))
    if not document.fork_choice.why:
        discrepancies = [Problem(kept[index], text) for index, text in crop_discrepancies(graph).items()]
        for line in described(document, discrepancies):
            _warn_once(line)
    steps = put_splits(graph.layers)
    mark_needs(steps, params, message.force_backward)
    return BuiltNet(message, graph, shapes, params, steps)


@cache
def _warn_once(line: str) -> None:
    """A warning of what every net made of the same text would bring again."""
    glog.warning(line)


def _silent(line: str, where: str) -> None:
    pass


_MOST_VALUES = 2**31 - 1  # BVLC Blob::Reshape: "blob size exceeds INT_MAX"

_Alike = dict[tuple[Any, ...], list[Shape]]  # shapes of tops, found once for layers that differ in names alone


def build_layers(
    graph: Graph, context: Context, sources: MakeSource | None, relative_to: str | None
) -> tuple[dict[Value, Shape], list[Problem]]:
    """Give the graph's layers, in order, what computes or feeds them.

    A layer with a problem leaves its tops without a shape; layers after it are
    checked as far as that allows, so that one run names everything there is to fix.

    Returns:
        The shapes of all values, and what is wrong.
    """
    shapes: dict[Value, Shape] = {}
    problems = align_crops(graph, context.fork)
    unaligned = {problem.layer for problem in problems}
    alike: _Alike = {}
    for layer in graph.layers:
        if layer.index in unaligned:
            continue
        try:
            tops = _set_up(layer, shapes, context, sources, relative_to, alike)
        except CaffeCompatError as problem:
            # A source names its layer itself; the net does so for all.
            text = str(problem).removeprefix(f'layer "{layer.name}" ({layer.type}): ')
            problems.append(Problem(layer.index, text))
        except TORCH_REFUSES as problem:
            if is_out_of_memory(problem):  # which is no fault of the prototxt's alone
                raise out_of_memory(problem) from problem
            if notes(problem):  # it comes from a Python layer's code, and says so
                raise
            given = [shapes[value] for value in layer.known_bottoms if value in shapes]
            problems.append(Problem(layer.index, refusal(problem, given)))
        else:
            shapes.update(zip(layer.top_values, tops, strict=False))
    return shapes, problems


def _set_up(
    layer: NetLayer,
    shapes: dict[Value, Shape],
    context: Context,
    sources: MakeSource | None,
    relative_to: str | None,
    alike: _Alike,
) -> Sequence[Shape]:
    """Make a layer's module or source; returns the shapes of its tops, none where a bottom's is unknown."""
    kind = data_layer(layer.type)
    if layer.is_input or (kind is not None and kind.fed and sources is None):
        layer.fed_shapes = _sizes_checked(layer, _fed_shapes(layer.param))
        return layer.fed_shapes
    if kind is not None:
        if sources is None:
            raise CaffeCompatError("reads data, but this net was made without data sources; use a deploy prototxt")
        layer.source = sources(layer.param, context.phase, context.fork, relative_to)
        layer.fed_shapes = _sizes_checked(layer, layer.source.top_shapes)
        return layer.fed_shapes
    cls = layer_class(layer.type)
    if cls is None:
        raise CaffeCompatError(_unknown_type(layer.type))
    for _, text in odd_numbers(layer.param, infinite=False):
        raise CaffeCompatError(text)
    bottoms = [shapes.get(value) if value is not None else None for value in layer.bottom_values]
    known = [shape for shape in bottoms if shape is not None]
    if len(known) < len(bottoms):
        return []
    layer.module = cls(layer.param, known, context)
    layer.slots = make_slots(layer.module)
    layer.loss_weights = _loss_weights(layer)
    key = shape_key(layer.module, known)
    if key is None or key not in alike:
        tops = made_shapes(layer, known)
        if key is None:
            return tops
        alike[key] = tops
    return alike[key]


_BREAKS = re.compile("[\x00\n\r]")


def _check_layers(layers: Sequence[NetLayer]) -> list[Problem]:
    """Rules that concern a layer's place in the net."""
    problems = []
    owners: dict[str, NetLayer] = {}
    for layer in layers:
        for name in (layer.name, *layer.tops):
            if _BREAKS.search(name):  # files, logs and Python code that names it could not be read
                problems.append(Problem(layer.index, f"the name {name!r} has a line end or a NUL in it; rename it"))
        wanted = len(layer.param.propagate_down)
        if wanted not in (0, len(layer.bottoms)):
            problems.append(
                Problem(layer.index, f"has {wanted} propagate_down for {len(layer.bottoms)} bottoms; none or one each")
            )
        if layer.slots and owners.setdefault(layer.name, layer) is not layer:
            problems.append(
                Problem(layer.index, "has the name of another layer with parameters; weights go by name: rename one")
            )
    return problems


def _loss_weights(layer: NetLayer) -> list[float]:
    """The weight of each top in the objective (BVLC ``Layer::SetLossWeights``)."""
    assert layer.module is not None
    stated = list(layer.param.loss_weight)
    if stated and len(stated) != len(layer.tops):
        raise CaffeCompatError(f"has {len(stated)} loss_weight for {len(layer.tops)} tops; give none or one each")
    return stated or [layer.module.default_loss_weight(i) for i in range(len(layer.tops))]


def _fed_shapes(param: pb.LayerParameter) -> list[Shape]:
    if not is_input(param):  # MemoryData
        memory = param.memory_data_param
        shape = (memory.batch_size, memory.channels, memory.height, memory.width)
        if min(shape) < 1:
            raise CaffeCompatError(
                f"memory_data_param needs batch_size, channels, height and width above 0, not {shape}"
            )
        return [shape, (memory.batch_size,)][: len(param.top)]
    stated: list[Shape] = [tuple(dims.dim) for dims in param.input_param.shape]
    if len(stated) not in (1, len(param.top)):
        raise CaffeCompatError(
            f"input_param has {len(stated)} shapes for {len(param.top)} tops; give one for all or one each, "
            "as in input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } }"
        )
    for given in stated:
        if any(size < 0 for size in given):
            raise CaffeCompatError(f"input_param.shape {given} has a negative dim")
    return stated * len(param.top) if len(stated) == 1 else stated


def _sizes_checked(layer: NetLayer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    """The shapes of tops that come from outside, none of which holds more than a blob of Caffe's can."""
    for blob, shape in zip(layer.tops, shapes, strict=False):
        if math.prod(shape) > _MOST_VALUES:
            raise CaffeCompatError(
                f"top {blob!r} of shape {tuple(shape)} has {math.prod(shape)} values, a blob can hold {_MOST_VALUES}; "
                f"{'lower batch_size' if layer.source is not None else 'make its shape smaller'}"
            )
    return shapes


def _unknown_type(name: str) -> str:
    """Distinguish a type that some Caffe has, but not this library, from a misspelled one."""
    if not name:
        return "has no type"
    forks = dialects.layer_forks(name)
    if forks:
        named = [fork.value for fork in forks[: 1 if Fork.BVLC in forks else None]]
        return f"is a layer of {', '.join(named)} that caffecompat does not implement"
    close = nearest(name, [*layer_types(), *data_layer_types()])
    return "is of no type that any known Caffe has" + (f"; did you mean {close!r}?" if close else "")
