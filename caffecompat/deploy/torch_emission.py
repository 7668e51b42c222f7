"""What a layer is in an exported torch file, and the register of the emitters that say so for each type."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from caffecompat.net.build import NetLayer

__all__ = ["EMITTERS", "CannotEmit", "Emitted", "Shape", "emits", "make", "number", "square", "text_of"]

Shape = tuple[int, ...]


class CannotEmit(Exception):
    """A layer has no counterpart; says why."""


@dataclass
class Emitted:
    """What a layer is in the file.

    Attributes:
        module: the expression that makes its module ("" for none), such as ``nn.ReLU()``.
        call: how its tops come about, with {0}, {1}, ... for the bottoms; "" calls the module with all of them.
        state: what the module's state_dict has under it.
        blobs: names in `state` of the layer's blobs, in Caffe's order, where they are the same values in the same
            shape, so that layers can share them.
        helpers: pieces of torch_helpers used.
    """

    module: str = ""
    call: str = ""
    state: dict[str, np.ndarray] = field(default_factory=dict)
    blobs: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()


Emitter = Callable[[NetLayer, list[np.ndarray], Sequence[Shape], Sequence[Shape]], Emitted]
EMITTERS: dict[str, Emitter] = {}


def emits(*types: str) -> Callable[[Emitter], Emitter]:
    """Register the emitter of these layer types; it gets the layer, its blobs, and the shapes of bottoms and tops."""

    def register(emitter: Emitter) -> Emitter:
        EMITTERS.update(dict.fromkeys(types, emitter))
        return emitter

    return register


def make(name: str, *values: object, **settings: tuple[object, object]) -> str:
    """A constructor call; each setting is (value, default) and is left out at its default."""
    words = [text_of(value) for value in values]
    words += [f"{key}={text_of(value)}" for key, (value, default) in settings.items() if value != default]
    return f"{name}({', '.join(words)})"


def text_of(value: object) -> str:
    """Python text of a value: floats that protobuf keeps in 32 bits as short as they were written."""
    if isinstance(value, float):
        return repr(float(str(np.float32(value)))) if math.isfinite(value) else f"float('{value}')"
    return repr(value)


def number(value: float) -> str:
    """As `text_of`, whole numbers without a point."""
    text = text_of(value)
    return text.removesuffix(".0")


def square(values: Sequence[int]) -> object:
    """One number where all are the same."""
    return values[0] if len(set(values)) == 1 else tuple(values)
