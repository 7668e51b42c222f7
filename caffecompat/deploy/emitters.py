"""Which function writes layers of which type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Emitters"]

Emitter = TypeVar("Emitter", bound=Callable[..., Any])


class Emitters(Generic[Emitter]):
    """The emitters of one format, `by_type` of layer."""

    def __init__(self) -> None:
        self.by_type: dict[str, Emitter] = {}

    def emits(self, *types: str) -> Callable[[Emitter], Emitter]:
        """Decorator: the function writes layers of these types."""

        def add(emitter: Emitter) -> Emitter:
            for name in types:
                if name in self.by_type:
                    raise ValueError(f"layer type {name!r} has an emitter already")
                self.by_type[name] = emitter
            return emitter

        return add

    def of(self, layer_type: str) -> Emitter | None:
        """What writes a layer type; None where nothing does."""
        return self.by_type.get(layer_type)
