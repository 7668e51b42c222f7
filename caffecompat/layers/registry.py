"""Which class implements a layer type."""

from __future__ import annotations

from collections.abc import Callable

from caffecompat.layers.layer import Layer

__all__ = ["class_of", "layer_class", "layer_types", "register"]

_classes: dict[str, type[Layer]] = {}


def register(*types: str) -> Callable[[type[Layer]], type[Layer]]:
    """Class decorator: the class implements these layer types (the first is its own name).

    Raises:
        ValueError: a type has a class already.
    """

    def add(cls: type[Layer]) -> type[Layer]:
        for name in types:
            if name in _classes:
                raise ValueError(f"layer type {name!r} is implemented by {_classes[name].__name__} already")
            _classes[name] = cls
        cls.type = types[0]
        return cls

    return add


def layer_class(type_name: str) -> type[Layer] | None:
    """The class of a layer type, or None where no class implements it."""
    return _classes.get(type_name)


def class_of(type_name: str) -> type[Layer]:
    """The class of a layer type; `Layer` itself, with what holds by default, where no class implements it."""
    return _classes.get(type_name, Layer)


def layer_types() -> list[str]:
    """All implemented layer types, sorted."""
    return sorted(_classes)
