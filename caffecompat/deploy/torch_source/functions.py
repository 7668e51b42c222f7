"""The functions and classes that exported files can take as they are, and which of them each uses."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import CodeType, ModuleType
from typing import Any

from caffecompat.deploy.emitters import is_own

__all__ = ["exportable", "needed", "own_functions"]

_PACKAGES = ("caffecompat.layers.functional", "caffecompat.deploy.torch_source.helpers")


def exportable() -> dict[str, Any]:
    """All that the modules of the two packages define, by name.

    Raises:
        ValueError: two modules define the same name.
    """
    things: dict[str, Any] = {}
    for package in _PACKAGES:
        for found in iter_modules(import_module(package).__path__):
            module = import_module(f"{package}.{found.name}")
            for name, thing in _defined_in(module).items():
                if name in things:
                    raise ValueError(f"{module.__name__} defines {name!r}, as {things[name].__module__} does")
                things[name] = thing
    return things


def own_functions(emitter: Callable[..., Any]) -> dict[str, Any]:
    """What a user's file of layers (``--layers``) defines, by name, for the emitter in it; empty for our emitters."""
    return {} if is_own(emitter) else _defined_in(sys.modules[emitter.__module__])


def needed(name: str, things: Mapping[str, Any]) -> tuple[str, ...]:
    """The things that one of them uses, also through others, each after those that it uses itself."""
    found: dict[str, None] = {}

    def add(of: str) -> None:
        for other in _names(things[of]):
            if other in things and other != name and other not in found:
                add(other)
                found.setdefault(other)

    add(name)
    return tuple(found)


def _defined_in(module: ModuleType) -> dict[str, Any]:
    """The functions and classes that a module itself defines, by name."""
    return {
        name: thing
        for name, thing in vars(module).items()
        if getattr(thing, "__module__", None) == module.__name__
        and (inspect.isfunction(thing) or inspect.isclass(thing))
    }


def _names(thing: Any) -> Iterator[str]:
    """Names that a function's code reads, or a class's bases and methods."""
    if inspect.isfunction(thing):
        yield from _names_of_code(thing.__code__)
        return
    yield from (base.__name__ for base in thing.__bases__)
    for method in vars(thing).values():
        if inspect.isfunction(method):
            yield from _names_of_code(method.__code__)


def _names_of_code(code: CodeType) -> Iterator[str]:
    """Global names that code reads, also inside comprehensions and inner functions."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_of_code(constant)
