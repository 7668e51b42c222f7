"""The functions that exported files can take as they are, and which of them each uses."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from caffecompat.deploy.emitters import is_own

__all__ = ["Piece", "exportable", "names_read", "needed", "own_functions"]

_PACKAGE = "caffecompat.layers.functional"


@dataclass(frozen=True)
class Piece:
    """A function, class or constant of a module.

    Attributes:
        text: its source, with decorators.
        reads: names that it reads and does not make itself.
    """

    text: str
    reads: frozenset[str]


def exportable() -> dict[str, Piece]:
    """All that the modules of `layers/functional` define, by name.

    Raises:
        ValueError: two modules define the same name.
    """
    pieces: dict[str, Piece] = {}
    for found in iter_modules(import_module(_PACKAGE).__path__):
        module = import_module(f"{_PACKAGE}.{found.name}")
        for name, piece in _pieces(inspect.getsource(module)):
            if name in pieces:
                raise ValueError(f"{module.__name__} defines {name!r}, as another module does")
            pieces[name] = piece
    return pieces


def own_functions(emitter: Callable[..., Any]) -> dict[str, Piece]:
    """What a user's file of layers (``--layers``) defines, by name, for the emitter in it; empty for our emitters."""
    return {} if is_own(emitter) else dict(_pieces(inspect.getsource(sys.modules[emitter.__module__])))


def needed(name: str, pieces: Mapping[str, Piece]) -> tuple[str, ...]:
    """What one of the pieces uses of the others, also through others, each after those that it uses itself."""
    found: dict[str, None] = {}

    def add(of: str) -> None:
        for other in pieces:
            if other in pieces[of].reads and other != name and other not in found:
                add(other)
                found.setdefault(other)

    add(name)
    return tuple(found)


def names_read(text: str) -> frozenset[str]:
    """Names that a text reads and does not make anywhere in it."""
    nodes = list(ast.walk(ast.parse(text)))
    made = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    made |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return frozenset(
        node.id
        for node in nodes
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in made
    )


def _pieces(source: str) -> Iterator[tuple[str, Piece]]:
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name, first = node.name, min([node.lineno, *(each.lineno for each in node.decorator_list)])
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id != "__all__":
            name, first = node.targets[0].id, node.lineno
        else:
            continue
        text = "\n".join(lines[first - 1 : node.end_lineno])
        yield name, Piece(text, names_read(text))
