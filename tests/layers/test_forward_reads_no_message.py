"""What forward needs of a layer's message is read when the layer is made: torch.compile cannot look into messages."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator

import pytest

from caffecompat.layers import Layer, layer_class, layer_types

_NAMES = {"name", "type", "top", "bottom"}  # for messages; read where there is something to say


def _reads(function: ast.AST) -> Iterator[str]:
    """Fields of `self.param` that code reads, apart from what an error says."""
    errors = {id(inner) for node in ast.walk(function) if isinstance(node, ast.Raise) for inner in ast.walk(node)}
    for node in ast.walk(function):
        if id(node) in errors or not isinstance(node, ast.Attribute) or node.attr in _NAMES:
            continue
        if ast.unparse(node.value) == "self.param":
            yield node.attr


def _methods(cls: type[Layer]) -> Iterator[ast.AST]:
    """Forward, and all methods and properties of the layer that it uses."""
    waiting, done = ["forward"], set()
    while waiting:
        name = waiting.pop()
        found = inspect.getattr_static(cls, name, None)
        found = found.fget if isinstance(found, property) else found
        if name in done or not inspect.isfunction(found) or not found.__module__.startswith("caffecompat."):
            continue
        done.add(name)
        tree = ast.parse(textwrap.dedent(inspect.getsource(found)))
        yield tree
        waiting += [
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "super()")
        ]


@pytest.mark.parametrize("kind", layer_types())
def test_forward_reads_no_message(kind: str) -> None:
    cls = layer_class(kind)
    assert cls is not None
    if inspect.getattr_static(cls, "untraceable"):
        pytest.skip(f"torch cannot trace it: {cls.untraceable}")
    assert sorted({field for method in _methods(cls) for field in _reads(method)}) == []
