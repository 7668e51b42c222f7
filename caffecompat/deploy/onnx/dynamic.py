"""A model whose batch is open: the first axis of its inputs is symbolic, and so is what follows from it.

Emitters write static shapes. So a net is exported at two batches; where the two models differ, the batch is what they
differ by: in shapes that Reshape and its like read, and in constants that repeat one item or count the items. Those
become computed from the input's shape. Anything else that differs belongs to a layer that fixes the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from caffecompat.deploy.batch import batched_shapes, what_fixes_batch
from caffecompat.deploy.onnx.errors import OnnxError
from caffecompat.deploy.onnx.graph import GraphBuilder, need_onnx
from caffecompat.deploy.onnx.message import infer_values
from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer

if TYPE_CHECKING:
    from onnx import NodeProto

if TYPE_CHECKING:
    from caffecompat.deploy.onnx.export import Export

__all__ = ["BATCH", "export_dynamic"]

BATCH = "batch"  # the symbolic dimension
_SIZES = (2, 3)  # neither is 1, which broadcasts


def export_dynamic(net: Net, export: Callable[[Net], Export]) -> Export:
    """Export a net with an open batch; the net comes back with the shapes that it has now.

    Args:
        export: writes a net as a model of static shapes, constants of its own for each node.

    Raises:
        OnnxError: a layer fixes the batch; it is named.
    """
    before = net.fed_shapes
    if any(not shape for shape in before.values()):
        raise OnnxError("--batch dynamic: an input is a single value, which has no batch")
    made, shapes = [], []
    try:
        for batch in _SIZES:
            net.reshape(batched_shapes(net, batch))
            shapes.append(net.value_shapes)
            fixed = what_fixes_batch(net.layers, shapes[0], shapes[-1])
            if fixed:
                raise OnnxError(f"--batch dynamic: {fixed}")
            made.append(export(net))
    except CaffeCompatError as problem:
        if isinstance(problem, OnnxError) or not str(problem).startswith("layer "):
            raise
        raise OnnxError(f"--batch dynamic: the batch is fixed: {problem}") from problem
    finally:
        net.reshape(before)
    return _Joined(made[0], made[1], {layer.name: layer for layer in net.layers}).export()


class _Joined:
    """Two exports of a net, at _SIZES, on the way to one."""

    def __init__(self, first: Export, second: Export, layers: Mapping[str, NetLayer]) -> None:
        self.first, self.second, self.layers = first, second, layers
        self.model = first.model
        self.graph = self.model.graph
        self.opset = self.model.opset_import[0].version
        self.constants, self.others = _constants(first), _constants(second)
        self.builder = GraphBuilder(self.opset)
        self.builder.reserve(
            [*self.constants, *(name for node in self.graph.node for name in (*node.input, *node.output))]
        )
        self._batch = ""

    def export(self) -> Export:
        """The first export with an open batch.

        Raises:
            OnnxError: a layer's nodes or constants depend on the batch otherwise than by its size.
        """
        self._compare_nodes()
        for name, values in self.constants.items():
            other = self.others[name]
            if values.shape != other.shape or not np.array_equal(values, other):
                self._open(name, values, other)
        kept = {name: values for name, values in self.constants.items() if name in self._read()}
        self._put_together(kept)
        self._open_ends()
        weights = {name: values for name, values in kept.items() if name in self.first.weights}
        shapes = infer_values(self.model, weights)
        if self.graph.value_info:
            del self.graph.value_info[:]
            self.graph.value_info.extend(shapes)
        return replace(self.first, weights=weights)

    def _compare_nodes(self) -> None:
        ours, theirs = list(self.graph.node), list(self.second.model.graph.node)
        for one, other in zip(ours, theirs, strict=False):
            if one != other:
                raise self._fixed(one)
        if len(ours) != len(theirs):
            raise self._fixed(max(ours, theirs, key=len)[min(len(ours), len(theirs))])
        for node in ours:
            if set(node.input) & (self.constants.keys() ^ self.others.keys()):
                raise self._fixed(node)

    def _fixed(self, node: NodeProto) -> OnnxError:
        name = self.first.layers.get(node.name) or self.second.layers.get(node.name) or node.name
        layer = self.layers.get(name)
        kind, module = (layer.type, layer.module) if layer is not None else ("", None)
        remedy = "; --cut-detection leaves it out" if module is not None and module.decodes_priors else ""
        return OnnxError(
            f"--batch dynamic: layer {name!r} ({kind}) fixes the batch: the {node.op_type} that is written for it "
            f"depends on how many items there are{remedy}"
        )

    def _read(self) -> set[str]:
        return {name for node in [*self.builder.nodes, *self.graph.node] for name in node.input}

    def _open(self, name: str, values: np.ndarray, other: np.ndarray) -> None:
        """Compute a constant from the batch, for all nodes that read it."""
        readers = [node for node in self.graph.node if name in node.input]
        if values.dtype == np.int64 and values.ndim == 1 and values.shape == other.shape:
            if all(node.op_type == "Reshape" for node in readers) and _is_inferred(values, other):
                self.constants[name] = np.where(values == other, values, -1)
                return
            opened = self._shape(values, other)
        else:
            opened = self._repeated(values, other) or self._counted(values, other)
        if not opened and readers:
            raise self._fixed(readers[0])
        for node in readers:
            for at, given in enumerate(node.input):
                if given == name:
                    node.input[at] = opened

    def _shape(self, values: np.ndarray, other: np.ndarray) -> str:
        """A shape some of whose sizes are multiples of the batch; "" where they are not."""
        parts = []
        for one, two in zip(values.tolist(), other.tolist(), strict=True):
            factor, rest = divmod(one, _SIZES[0])
            if one == two:
                parts.append(self._const([one]))
            elif not rest and factor * _SIZES[1] == two:
                parts.append(self._times_batch(factor))
            else:
                return ""
        return self._node("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def _repeated(self, values: np.ndarray, other: np.ndarray) -> str:
        """A constant that repeats the same along the axis that follows the batch; "" where it is no such one."""
        axes = [at for at in range(values.ndim) if values.ndim == other.ndim and values.shape[at] != other.shape[at]]
        if len(axes) != 1:
            return ""
        item = values.take([0], axes[0])
        if not (np.array_equal(values, np.broadcast_to(item, values.shape))
                and np.array_equal(other, np.broadcast_to(item, other.shape))):  # fmt: skip
            return ""
        shape = self._shape(np.array(values.shape), np.array(other.shape))
        return self._node("Expand", self.builder.constant(item, "batch/item"), shape) if shape else ""

    def _counted(self, values: np.ndarray, other: np.ndarray) -> str:
        """A constant that grows by the same from item to item along its first axis; "" where it is no such one."""
        factor, rest = divmod(values.shape[0], _SIZES[0]) if values.ndim and values.ndim == other.ndim else (0, 1)
        if rest or other.shape != (factor * _SIZES[1], *values.shape[1:]) or values.dtype not in (np.int64, np.float32):
            return ""
        items = other.reshape(_SIZES[1], factor, *values.shape[1:])
        first, step = items[:1], items[1:2] - items[:1]
        count = np.arange(_SIZES[1]).reshape(-1, *[1] * values.ndim)
        if not (np.array_equal(first + step * count, items) and np.array_equal(other[: len(values)], values)):
            return ""
        ones = self._node("Expand", self._const([1]), self._times_batch(1))
        numbers = self._node("Reshape", self._node("NonZero", ones), self._const([-1, *[1] * values.ndim]))
        if values.dtype == np.float32:
            numbers = self._node("Cast", numbers, to=need_onnx().TensorProto.FLOAT)
        grown = self._node("Mul", numbers, self.builder.constant(step, "batch/step"))
        whole = self._node("Add", grown, self.builder.constant(first, "batch/first"))
        return self._node("Reshape", whole, self._const([-1, *values.shape[1:]]))

    def _times_batch(self, factor: int) -> str:
        """The batch times a factor, an int64 of shape (1)."""
        if not self._batch:
            shape = self._node("Shape", self.graph.input[0].name)
            places = (self._const([at]) for at in (0, 1, 0))
            self._batch = self._node("Slice", shape, *places)
        return self._batch if factor == 1 else self._node("Mul", self._batch, self._const([factor]))

    def _const(self, values: list[int]) -> str:
        return self.builder.constant(np.array(values, np.int64), "batch/constant")

    def _node(self, op: str, *inputs: str, **attributes: Any) -> str:
        output = self.builder.value_name(f"batch/{op}")
        self.builder.add(op, inputs, [output], output, **attributes)
        return output

    def _put_together(self, kept: Mapping[str, np.ndarray]) -> None:
        onnx = need_onnx()
        nodes = [*self.builder.nodes, *self.graph.node]
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(nodes)
        own = {name: values for name, values in self.builder.constants.items() if any(name in n.input for n in nodes)}
        for name, values in {**kept, **own}.items():
            if name not in self.first.weights:
                self.graph.initializer.append(onnx.numpy_helper.from_array(values, name))

    def _open_ends(self) -> None:
        """Give inputs and outputs their symbolic sizes."""
        other = self.second.model.graph
        for ours, theirs in ((self.graph.input, other.input), (self.graph.output, other.output)):
            for one, two in zip(ours, theirs, strict=True):
                sizes = zip(one.type.tensor_type.shape.dim, two.type.tensor_type.shape.dim, strict=True)
                for dim, larger in sizes:
                    if dim.dim_value != larger.dim_value:
                        factor = dim.dim_value // _SIZES[0]
                        dim.dim_param = BATCH if factor == 1 else f"{factor}*{BATCH}"


def _constants(export: Export) -> dict[str, np.ndarray]:
    onnx = need_onnx()
    small = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in export.model.graph.initializer}
    return {**small, **export.weights}


def _is_inferred(values: np.ndarray, other: np.ndarray) -> bool:
    """Whether Reshape finds the size that differs by itself: it is the only unknown one."""
    return int((values != other).sum()) == 1 and not (values == -1).any()
