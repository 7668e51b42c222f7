"""Which function writes layers of which type, and why some types have none."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Generic, TypeVar

from caffecompat.errors import CaffeCompatError
from caffecompat.layers import layer_class
from caffecompat.layers.python_module import place_of

__all__ = ["Emitters", "UnsupportedLayer", "import_emitters", "is_own"]

Emitter = TypeVar("Emitter", bound=Callable[..., Any])


class UnsupportedLayer(CaffeCompatError):
    """A layer cannot be written in a format; says why, the export adds the layer's name and place."""


class Emitters(Generic[Emitter]):
    """The emitters of one format, `by_type` of layer, and the `reasons` of types that this format alone cannot hold."""

    def __init__(self) -> None:
        self.by_type: dict[str, Emitter] = {}
        self.reasons: dict[str, str] = {}

    def emits(self, *types: str) -> Callable[[Emitter], Emitter]:
        """Decorator: the function writes layers of these types."""

        def add(emitter: Emitter) -> Emitter:
            for name in types:
                if name in self.by_type:
                    raise ValueError(f"layer type {name!r} has an emitter already")
                self.by_type[name] = emitter
            return emitter

        return add

    def lacks(self, layer_type: str, reason: str) -> None:
        """State why this format has nothing for a type that others have: what it does, such as "reads shapes alone"."""
        self.reasons[layer_type] = reason

    def of(self, layer_type: str) -> Emitter | None:
        """What writes a layer type; None where nothing does."""
        return self.by_type.get(layer_type)

    def run(self, layer_type: str, view: Any) -> Any:
        """Let the emitter of a type write a layer, and return what it returns.

        Raises:
            UnsupportedLayer: this layer has no form here; or the emitter, of a user's file, fails.
        """
        emitter = self.by_type[layer_type]
        try:
            return emitter(view)
        except CaffeCompatError:
            raise
        except Exception as problem:
            if is_own(emitter):
                raise
            file = inspect.getfile(emitter)
            raise UnsupportedLayer(f"{place_of(problem, file)}: {type(problem).__name__}: {problem}") from problem

    def reason(self, layer_type: str) -> str:
        """Why nothing writes a layer type: this format's reason, or the class's own (`Layer.not_exported`); else ""."""
        return self.reasons.get(layer_type) or _reason_of_class(layer_type)

    def refusal(self, layer_type: str, form: str) -> UnsupportedLayer:
        """The error for a layer type without an emitter; `form` is "in" and the format's name."""
        reason, advice = self.reason(layer_type), ""
        if layer_type not in self.reasons and reason:
            advice = "; make a deploy prototxt first (caffecompat export deploy)"
        return UnsupportedLayer(f"has no form {form}{': it ' if reason else ''}{reason}{advice}")


def is_own(emitter: Callable[..., Any]) -> bool:
    """Whether an emitter is this package's, and not of a user's file of layers."""
    return emitter.__module__.startswith("caffecompat.")


def _reason_of_class(layer_type: str) -> str:
    cls = layer_class(layer_type)
    return cls.not_exported if cls is not None else ""


def import_emitters(package: str) -> None:
    """Import every module of a backend's `layers` package, whose emitters register themselves."""
    for module in iter_modules(import_module(package).__path__):
        import_module(f"{package}.{module.name}")
