"""An ONNX graph while it is being made: nodes, initializers, unique names, and names that turn out to be one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from caffecompat.deploy.onnx.errors import OnnxError
from caffecompat.deploy.onnx.older import MODERN, NodeForm, in_opset

if TYPE_CHECKING:
    from numpy.typing import DTypeLike
    from onnx import NodeProto

__all__ = ["IR_VERSION", "OPSETS", "GraphBuilder", "OnnxError", "Output", "need_onnx"]

IR_VERSION = 8  # of opset 13 and later: the oldest that newer opsets do not force up; what the vendors' importers read
OPSETS = (9, 28)  # least and greatest that the emitters know


def need_onnx() -> Any:
    """The onnx package.

    Raises:
        OnnxError: onnx or onnxruntime is not installed; it names the extra.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401  # every export is checked by it
    except ImportError as problem:
        raise OnnxError(
            f"ONNX files need the packages onnx and onnxruntime ({problem}); install the extra: "
            "pip install 'caffecompat[onnx]'"
        ) from None
    return onnx


@dataclass
class Output:
    """An output of a model.

    Attributes:
        name: its name.
        blob: the net's blob that it is of.
        shape: with a name in the place of a size that depends on values.
        columns: which ones, where a blob of rows became several outputs.
        dtype: of its values.
    """

    name: str
    blob: str
    shape: tuple[int | str, ...]
    columns: tuple[int, ...] | None = None
    dtype: DTypeLike = np.float32


class GraphBuilder:
    """Collects nodes and initializers.

    Attributes:
        opset: whose forms of the operators to use.
        shares: whether constants that are equal become one; quantizers that scale weights want each node's its own.
        nodes: in the order of computation.
        constants: the values known now, by name; those that nodes read become initializers.
        layer: whose nodes are being made; "" where they only give a value its name.
        owners: the layer of each node, by node name.
    """

    def __init__(self, opset: int, shares: bool = True) -> None:
        self.onnx = need_onnx()
        self.opset, self.shares = opset, shares
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.layer = ""
        self.owners: dict[str, str] = {}
        self._values: set[str] = set()
        self._node_names: set[str] = set()
        self._aliases: dict[str, str] = {}
        self._renamed: dict[str, str] = {}  # by `finish`
        self._pooled: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def reserve(self, names: Sequence[str]) -> None:
        """Keep value names for the blobs that will carry them."""
        self._values.update(names)

    def value_name(self, wish: str) -> str:
        """A value name that nothing has yet, `wish` if possible."""
        return _unique(wish, self._values)

    def add(self, op: str, inputs: Sequence[str], outputs: Sequence[str], name: str, **attributes: Any) -> None:
        """Append a node; attributes that are None are left out."""
        form = NodeForm(op, [self.resolve(value) for value in inputs], attributes, name)
        form = in_opset(self, form) if self.opset < MODERN else form
        given = {key: value for key, value in form.attributes.items() if value is not None}
        unique = _unique(name, self._node_names)
        node = self.onnx.helper.make_node(form.operator, form.inputs, list(outputs), name=unique, **given)
        self.nodes.append(node)
        self.owners[node.name] = self.layer

    def release(self, node: NodeProto) -> None:
        """Let the name of a node that is taken out be given to another."""
        self._node_names.discard(node.name)
        del self.owners[node.name]

    def constant(self, values: np.ndarray, wish: str) -> str:
        """The name of a known value; small ones that are equal share it, where that is wanted."""
        values = np.asarray(values)
        if values.size > 64 or not self.shares:
            name = self.value_name(wish)
        else:
            key = (values.dtype.str, values.shape, values.tobytes())
            if key in self._pooled:
                return self._pooled[key]
            name = self._pooled[key] = self.value_name(wish)
        self.constants[name] = values
        return name

    def alias(self, name: str, source: str) -> None:
        """`name` is another name of the value `source`."""
        self._aliases[name] = self.resolve(source)

    def resolve(self, name: str) -> str:
        """The value that a name stands for."""
        while name in self._aliases:
            name = self._aliases[name]
        return name

    def final_name(self, name: str) -> str:
        """What a value is called once the graph is finished."""
        root = self.resolve(name)
        return self._renamed.get(root, root)

    def known(self, name: str) -> np.ndarray | None:
        """The value, where it is known already."""
        return self.constants.get(self.resolve(name))

    def finish(self, inputs: Sequence[str], outputs: Sequence[str], plain: Sequence[str]) -> None:
        """Give outputs their names and drop what no output needs.

        Args:
            inputs, outputs: of the graph.
            plain: blob names; an alias among them replaces a name that is none.
        """
        self.layer = ""
        blobs = set(plain)
        renamed = self._renamed
        made = {output for node in self.nodes for output in node.output}
        for name in self._aliases:
            root = self.resolve(name)
            if name in blobs and root not in blobs and root in made and root not in renamed and root not in inputs:
                renamed[root] = name
        self._rename(renamed)
        for name in outputs:
            root = self.resolve(name)
            root = renamed.get(root, root)
            if root != name:
                self.add("Identity", [root], [name], f"{name}/Identity")
            elif name in self.constants:
                # A graph's output must be made by a node.
                self.constants[self.value_name(f"{name}/value")] = self.constants.pop(name)
                self.add("Identity", [next(reversed(self.constants))], [name], f"{name}/Identity")
            elif name in inputs:
                raise OnnxError(f"output {name!r} is the net's input itself; there is nothing to export")
        self._prune(outputs)

    def _rename(self, names: dict[str, str]) -> None:
        for node in self.nodes:
            for values in (node.input, node.output):
                for at, value in enumerate(values):
                    if value in names:
                        values[at] = names[value]

    def _prune(self, outputs: Sequence[str]) -> None:
        needed, kept = set(outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {name: values for name, values in self.constants.items() if name in needed}


def _unique(wish: str, taken: set[str]) -> str:
    name, count = wish, 1
    while name in taken:
        count += 1
        name = f"{wish}_{count}"
    taken.add(name)
    return name
