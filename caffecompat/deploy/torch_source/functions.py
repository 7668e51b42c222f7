"""The functions of a module that exported files can take as they stand, and which of them each calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, ModuleType
from typing import Any

__all__ = ["needed_functions", "own_functions"]


def own_functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The functions that a module defines, by name."""
    return {
        name: made
        for name, made in vars(module).items()
        if inspect.isfunction(made) and made.__module__ == module.__name__
    }


def needed_functions(name: str, functions: Mapping[str, Callable[..., Any]]) -> tuple[str, ...]:
    """The functions that one of them calls, also through others, each after those that it calls itself."""
    found: dict[str, None] = {}

    def add(of: str) -> None:
        for other in _names(functions[of].__code__):
            if other in functions and other != name and other not in found:
                add(other)
                found.setdefault(other)

    add(name)
    return tuple(found)


def _names(code: CodeType) -> Iterator[str]:
    """Global names that code reads, also inside comprehensions and inner functions."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
