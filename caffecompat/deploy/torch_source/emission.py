"""What a layer is in an exported torch file, and the register of the emitters that say so for each type."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caffecompat.deploy.emitters import Emitters, UnsupportedLayer
from caffecompat.layers.fixed import quantized_blobs
from caffecompat.net.layer import NetLayer
from caffecompat.schema import pb

__all__ = [
    "Emitted",
    "LayerView",
    "Shape",
    "UnsupportedLayer",
    "calling",
    "emit",
    "emits",
    "emitter_of",
    "emitters",
    "lacks",
    "make",
    "number",
    "parameter",
    "parameters",
    "square",
    "text_of",
]

Shape = tuple[int, ...]


@dataclass
class LayerView:
    """The layer that an emitter has before it.

    Attributes:
        layer, module: the net's layer, and what computes it.
        blobs: its parameters in Caffe's order, float32; of Xilinx' fixed-point layers the numbers it computes with.
        bottoms, tops: shapes.
    """

    layer: NetLayer
    blobs: list[np.ndarray]
    bottoms: list[Shape]
    tops: list[Shape]

    @property
    def module(self) -> Any:
        return self.layer.module

    @property
    def param(self) -> pb.LayerParameter:
        return self.layer.param

    @property
    def shape(self) -> Shape:
        """Of the first bottom."""
        return self.bottoms[0]


@dataclass
class Emitted:
    """What a layer is in the file.

    Attributes:
        module: the expression that makes its module or parameter ("" for none), such as ``nn.ReLU()``.
        call: how its tops are computed, with {0}, {1}, ... for the bottoms and {self} for the module; "" calls the
            module with all of them.
        state: what the module's state_dict has under it ("" for a bare parameter).
        blobs: names in `state` of the layer's blobs, in Caffe's order, where they are the same values in the same
            shape, so that layers can share them.
        remembers: whether, after the tops, the call gives a state that the next call takes as {state}, a list of
            tensors that is empty at first.

    Functions, classes and constants that `module` and `call` name come into the file with all that they use: those of
    `layers/functional`, and, for a user's layer, those of the file of its emitter.
    """

    module: str = ""
    call: str = ""
    state: dict[str, np.ndarray] = field(default_factory=dict)
    blobs: tuple[str, ...] = ()
    remembers: bool = False


Emitter = Callable[[LayerView], Emitted]
emitters: Emitters[Emitter] = Emitters()
emits, lacks, emitter_of = emitters.emits, emitters.lacks, emitters.of


def emit(layer: NetLayer, blobs: list[np.ndarray], bottoms: list[Shape], tops: list[Shape]) -> Emitted:
    """What a layer of a net is in the file.

    Raises:
        UnsupportedLayer: it cannot be written.
    """
    if emitter_of(layer.type) is None:
        raise emitters.refusal(layer.type, "in torch source")
    fixed = quantized_blobs(layer.module)
    view = LayerView(layer, blobs if fixed is None else [blob.numpy() for blob in fixed], bottoms, tops)
    emitted: Emitted = emitters.run(layer.type, view)
    return emitted


def make(name: str, *values: object, **settings: tuple[object, object]) -> str:
    """A constructor call; each setting is (value, default) and is left out at its default."""
    return calling(name, *map(text_of, values), **settings)


def calling(name: str, *texts: str, **settings: tuple[object, object]) -> str:
    """As `make`, but what comes before the settings is text already, such as "{0}"."""
    words = [f"{key}={text_of(value)}" for key, (value, default) in settings.items() if not _equal(value, default)]
    return f"{name}({', '.join([*texts, *words])})"


def parameter(values: np.ndarray, *, learned: bool = True) -> str:
    """A parameter of the values' shape."""
    return f"nn.Parameter({_zeros(values)}{'' if learned else ', requires_grad=False'})"


def parameters(state: Mapping[str, np.ndarray]) -> str:
    """Parameters by name, of the values' shapes: functions take them all as ``**{self}``."""
    words = [f'"{name}": {_zeros(values)}' for name, values in state.items()]
    return f"nn.ParameterDict({{{', '.join(words)}}})"


def _zeros(values: np.ndarray) -> str:
    return f"torch.zeros({', '.join(map(str, values.shape)) or '()'})"


def _equal(value: object, default: object) -> bool:
    if isinstance(value, float) and isinstance(default, float):
        return bool(np.float32(value) == np.float32(default))
    return value == default


def text_of(value: object) -> str:
    """Python text of a value: floats that protobuf keeps in 32 bits as short as they were written."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return f'float("{value}")'
        short = float(str(np.float32(value)))
        return repr(short if np.float32(short) == np.float32(value) else value)
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        inside = ", ".join(text_of(item) for item in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
    return repr(value)


def number(value: float) -> str:
    """As `text_of`, whole numbers without a point."""
    return text_of(value).removesuffix(".0")


def square(values: Sequence[int]) -> object:
    """One number where all are the same."""
    return values[0] if len(set(values)) == 1 else tuple(values)
