"""From graph to layers: every node gets its module or source, and every value its shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from traceback import walk_tb
from typing import Any, Protocol

import numpy as np

from caffecompat.errors import CaffeCompatError, notes
from caffecompat.forks import Fork
from caffecompat.layers import Context, Layer, LayerError, layer_class, layer_types
from caffecompat.net.alignment import align_crops
from caffecompat.net.graph import Graph, Node, Value
from caffecompat.net.params import BlobSlot, make_slots
from caffecompat.net.problems import Problem
from caffecompat.net.shapes import Shape, run_on_meta, shape_key
from caffecompat.schema import dialects
from caffecompat.wording import nearest

__all__ = [
    "DATA_TYPES",
    "MakeSource",
    "NetLayer",
    "Source",
    "build_layers",
    "check_layers",
    "infer_shapes",
    "naming_layers",
    "top_shapes",
]

FED_TYPES = frozenset({"Input", "MemoryData"})  # the caller gives their tops; MemoryData has a source where any has

# Types that read batches from somewhere; which of them exist is the data room's business.
DATA_TYPES = frozenset(
    {
        "AnnotatedData",
        "Data",
        "DenseImageData",
        "DummyData",
        "HDF5Data",
        "ImageData",
        "ImageLabelData",
        "ImageLabelListData",
        "ImageLabelmapData",
        "ImageSegData",
        "VideoData",
        "WindowData",
    }
)

_TORCH_REFUSES = (RuntimeError, ValueError, ArithmeticError, IndexError, NotImplementedError)


class Source(Protocol):
    """What feeds a data layer's tops: ``next`` gives one batch, ``describe`` tells which record filled a row."""

    top_shapes: list[Shape]

    def next(self) -> tuple[np.ndarray, ...]: ...

    def describe(self, row: int) -> str: ...

    def close(self) -> None: ...


_Alike = dict[tuple[Any, ...], list[Shape]]  # shapes of tops, found once for layers that differ in names alone
MakeSource = Callable[[Any, int, Fork, str | None], Source]


@dataclass(eq=False)
class NetLayer:
    """A layer of a built net: its module computes, its source reads, or (neither) its tops are fed.

    `fed_shapes` are those of the tops of a layer without a module. `half_precision` is whether it computes in 16 bits,
    None in a net where no layer does. A copy of a layer has no source: threads and databases belong to one net.
    """

    index: int
    param: Any
    bottoms: list[str]
    tops: list[str]
    module: Layer | None = None
    source: Source | None = None
    fed_shapes: Sequence[Shape] = ()
    loss_weights: list[float] = field(default_factory=list)
    slots: list[BlobSlot] = field(default_factory=list)
    half_precision: bool | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"source": None}

    @property
    def name(self) -> str:
        return str(self.param.name)

    @property
    def type(self) -> str:
        return str(self.param.type)


def build_layers(
    graph: Graph, context: Context, sources: MakeSource | None, beside: str | None
) -> tuple[list[NetLayer], dict[Value, Shape], list[Problem]]:
    """Make the layers in order and infer the shapes of their tops.

    A layer with a problem leaves its tops without a shape; layers behind it are
    checked as far as that allows, so that one run names everything there is to mend.
    """
    layers: list[NetLayer] = []
    shapes: dict[Value, Shape] = {}
    problems = align_crops(graph, context.fork)
    unaligned = {problem.layer for problem in problems}
    alike: _Alike = {}
    for node in graph.nodes:
        layer = NetLayer(node.index, node.param, list(node.param.bottom), list(node.param.top))
        layers.append(layer)
        if node.index in unaligned:
            continue
        try:
            tops = _set_up(layer, node, shapes, context, sources, beside, alike)
        except CaffeCompatError as problem:
            # A source names its layer itself; the net does so for all.
            text = str(problem).removeprefix(f'layer "{layer.name}" ({layer.type}): ')
            problems.append(Problem(node.index, text))
        except _TORCH_REFUSES as problem:
            if notes(problem):  # it comes from a Python layer's code, and says so
                raise
            given = [shapes[value] for value in node.bottoms if value is not None and value in shapes]
            problems.append(Problem(node.index, _refusal(problem, given)))
        else:
            shapes.update(zip(node.tops, tops, strict=False))
    return layers, shapes, problems


def _refusal(problem: Exception, bottoms: Sequence[Shape]) -> str:
    """What torch cannot do that a prototxt asks for: negative sizes, shapes that do not fit together."""
    given = ", ".join(map(str, bottoms)) or "none"
    return f"cannot work on bottoms of shape {given}: {'too few axes' if isinstance(problem, IndexError) else problem}"


def _set_up(
    layer: NetLayer,
    node: Node,
    shapes: dict[Value, Shape],
    context: Context,
    sources: MakeSource | None,
    beside: str | None,
    alike: _Alike,
) -> Sequence[Shape]:
    """Make a layer's module or source; returns the shapes of its tops, none where a bottom's is unknown."""
    if layer.type == "Input" or (layer.type == "MemoryData" and sources is None):
        layer.fed_shapes = _fed_shapes(layer.param)
        return layer.fed_shapes
    if layer.type in DATA_TYPES or layer.type in FED_TYPES:
        if sources is None:
            raise CaffeCompatError("reads data, but this net was made without data sources; use a deploy prototxt")
        layer.source = sources(layer.param, context.phase, context.fork, beside)
        layer.fed_shapes = layer.source.top_shapes
        return layer.fed_shapes
    cls = layer_class(layer.type)
    if cls is None:
        raise CaffeCompatError(_unknown_type(layer.type))
    bottoms = [shapes.get(value) if value is not None else None for value in node.bottoms]
    known = [shape for shape in bottoms if shape is not None]
    if len(known) < len(bottoms):
        return []
    layer.module = cls(layer.param, known, context)
    layer.slots = make_slots(layer.module)
    layer.loss_weights = _loss_weights(layer)
    key = shape_key(layer.module, known)
    if key is None or key not in alike:
        tops = _top_shapes(layer, known)
        if key is None:
            return tops
        alike[key] = tops
    return alike[key]


def check_layers(layers: Sequence[NetLayer]) -> list[Problem]:
    """Rules that concern a layer's place in the net."""
    problems = []
    owners: dict[str, NetLayer] = {}
    for layer in layers:
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


def _top_shapes(layer: NetLayer, bottoms: Sequence[Shape]) -> list[Shape]:
    """Shapes of a layer's tops for bottoms of those shapes."""
    assert layer.module is not None
    made = run_on_meta(layer.module, bottoms)
    tops = made if isinstance(made, tuple) else (made,) if layer.tops else ()
    if len(tops) != len(layer.tops):
        raise CaffeCompatError(f"makes {len(tops)} tops, the prototxt names {len(layer.tops)}")
    return [tuple(top.shape) for top in tops]


def infer_shapes(graph: Graph, layers: Sequence[NetLayer], fed: dict[str, Shape]) -> dict[Value, Shape]:
    """Shapes of all values when the blobs in `fed` come in other shapes than the prototxt or the first batch says.

    Raises:
        CaffeCompatError: a layer cannot work on what it gets then; it names the layer and its type.
    """
    shapes: dict[Value, Shape] = {}
    for node, layer in zip(graph.nodes, layers, strict=True):
        if layer.module is not None:
            tops = top_shapes(layer, [shapes[value] for value in node.bottoms if value is not None])
        else:
            tops = [fed.get(blob, shape) for blob, shape in zip(layer.tops, layer.fed_shapes, strict=True)]
        shapes.update(zip(node.tops, tops, strict=True))
    return shapes


@contextmanager
def naming_layers(check: Callable[[], object]) -> Iterator[None]:
    """Let a computation that torch or a layer refuses end with an error that names the layer.

    Args:
        check: infers the shapes of what was to be computed; it raises that error.
    """
    try:
        yield
    except (CaffeCompatError, *_TORCH_REFUSES) as problem:
        if not notes(problem) and not str(problem).startswith("layer "):  # else it says where it comes from
            check()
            refusing = _layer_of(problem) if isinstance(problem, LayerError) else None
            if refusing is not None:  # because of the values of a bottom
                raise LayerError(f"layer {refusing.name!r} ({refusing.type}): {problem}") from None
        raise


def _layer_of(problem: LayerError) -> Any:
    """The parameters of the layer whose code raised an error; None where it came from elsewhere."""
    callers = [frame.f_locals.get("self") for frame, _ in walk_tb(problem.__traceback__)]
    return next((caller.param for caller in reversed(callers) if isinstance(caller, Layer)), None)


def top_shapes(layer: NetLayer, bottoms: Sequence[Shape]) -> list[Shape]:
    """Shapes of the tops of a layer that was made for bottoms of other shapes.

    Raises:
        CaffeCompatError: it cannot work on these; its name and type are said.
    """
    head = f"layer {layer.name!r} ({layer.type}): "
    try:
        tops = _top_shapes(layer, bottoms)
        if any(0 in top for top in tops) and not any(0 in bottom for bottom in bottoms):
            objection = _objection(layer, bottoms)
            if objection:
                raise LayerError(objection)
        return tops
    except CaffeCompatError as problem:
        raise CaffeCompatError(head + str(problem).removeprefix(head)) from None
    except _TORCH_REFUSES as problem:
        if notes(problem):  # it comes from a Python layer's code, and says so
            raise
        raise CaffeCompatError(head + (_objection(layer, bottoms) or _refusal(problem, bottoms))) from None


def _objection(layer: NetLayer, bottoms: Sequence[Shape]) -> str:
    """What stands against these bottoms by the layer's class, or by the shapes of its parameters; "" for nothing."""
    assert layer.module is not None
    try:
        other = type(layer.module)(layer.param, bottoms, replace(layer.module.context, fill=False))
    except LayerError as problem:
        return str(problem)
    except _TORCH_REFUSES:
        return ""
    have, need = ([tuple(blob.shape) for blob in module.blobs] for module in (layer.module, other))
    if have == need:
        return ""
    given = ", ".join(map(str, bottoms))
    return (
        f"its parameters are of shape {', '.join(map(str, have))}, bottoms of shape {given} need "
        f"{', '.join(map(str, need))}; the net was made for other inputs"
    )


def _fed_shapes(param: Any) -> list[Shape]:
    if param.type == "MemoryData":
        memory = param.memory_data_param
        shape = (memory.batch_size, memory.channels, memory.height, memory.width)
        if min(shape) < 1:
            raise CaffeCompatError(
                f"memory_data_param needs batch_size, channels, height and width above 0, not {shape}"
            )
        return [shape, (memory.batch_size,)][: len(param.top)]
    stated = [tuple(shape.dim) for shape in param.input_param.shape]
    if len(stated) not in (1, len(param.top)):
        raise CaffeCompatError(
            f"input_param has {len(stated)} shapes for {len(param.top)} tops; give one for all or one each, "
            "as in input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } }"
        )
    for shape in stated:
        if any(size < 0 for size in shape):
            raise CaffeCompatError(f"input_param.shape {shape} has a negative dim")
    return stated * len(param.top) if len(stated) == 1 else stated


def _unknown_type(name: str) -> str:
    """Tell a type that some Caffe has, but not this library, from a misspelled one."""
    if not name:
        return "has no type"
    forks = dialects.layer_forks(name)
    if forks:
        named = [fork.value for fork in forks[: 1 if Fork.BVLC in forks else None]]
        return f"is a layer of {', '.join(named)} that caffecompat does not implement"
    close = nearest(name, [*layer_types(), *DATA_TYPES, *FED_TYPES])
    return "is of no type that any known Caffe has" + (f"; did you mean {close!r}?" if close else "")
