"""Where a torch model's weights are for other inputs or classes than a net's: found, and what can be done about it.

A net for gray pictures or for pictures with a fourth channel has a first convolution of another shape than the
published weights, a net for other classes a last layer of another shape. Neither is filled without being asked for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from caffecompat.layers.convolution import BaseConvolution, Convolution
from caffecompat.layers.inner_product import InnerProduct
from caffecompat.net.layer import NetLayer
from caffecompat.net.net import Net
from caffecompat.net.torch_weights import State, is_norm, modules_of

__all__ = ["FirstLayer", "other_first_layer", "other_outputs", "plain_name"]

_PICTURE_CHANNELS = (1, 3, 4)

_Modules = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class FirstLayer:
    """A net's first convolution and the module that fits it but for the number of input channels.

    Attributes:
        layer: of the net, which takes `wanted` channels.
        module: of the torch model, which takes `has`.
    """

    layer: str
    module: str
    has: int
    wanted: int

    @property
    def how(self) -> str:
        """What :meth:`adapted` does to the weights, for people."""
        if self.wanted == 1:
            return f"the sum over its {self.has} channels"
        return f"its channels repeated, times {self.has}/{self.wanted}"

    def offer(self) -> str:
        """How the two differ, and the flag that makes them fit."""
        return (
            f"layer {self.layer} takes {_count(self.wanted, 'channel')}, module {self.module} {self.has}: "
            f"with --adapt-first-layer it gets {self.how}"
        )

    def adapted(self, state: State, *, swap_colors: bool = False) -> dict[str, np.ndarray]:
        """The state with weights (O, wanted, H, W) in place of the module's (O, has, H, W).

        One channel gets the sum, so that a gray picture gives what the model computes of it in equal color channels;
        more get the channels in turn, times has / wanted, so that outputs stay about as large. timm's models load
        with another number of inputs by the same rule.

        Args:
            swap_colors: RGB to BGR, before that.
        """
        key = f"{self.module}.weight" if self.module else "weight"
        weight = state[key][:, ::-1] if swap_colors and self.has == 3 else state[key]
        if self.wanted == 1:
            made = weight.sum(1, keepdims=True)
        else:
            made = weight[:, np.arange(self.wanted) % self.has] * np.float32(self.has / self.wanted)
        return {**state, key: np.ascontiguousarray(made, np.float32)}


def other_first_layer(net: Net, state: State) -> FirstLayer | None:
    """The net's first convolution, where a module of the file fits it but for its 1, 3 or 4 input channels.

    Of several such modules it is the one with the layer's name, else the first. None where one fits as it is, and
    where a color channel would have to be given up.
    """
    layer = next((layer for layer in net.layers if isinstance(layer.module, BaseConvolution) and layer.slots), None)
    if layer is None or not isinstance(layer.module, Convolution) or layer.module.group != 1:
        return None
    shape = layer.slots[0].shape
    weights = {name: tensors["weight"].shape for name, tensors in modules_of(state).items() if "weight" in tensors}
    fitting = [
        name
        for name, own in weights.items()
        if len(own) > 2 and own[1] in _PICTURE_CHANNELS and (own[0], *own[2:]) == (shape[0], *shape[2:])
    ]
    if not fitting:
        return None
    module = next((name for name in fitting if plain_name(name) == plain_name(layer.name)), fitting[0])
    has, wanted = weights[module][1], shape[1]
    return FirstLayer(layer.name, module, has, wanted) if wanted == 1 < has or wanted > has else None


def other_outputs(
    layers: Sequence[NetLayer], without: Iterable[str], unused: Iterable[str], modules: _Modules
) -> list[str]:
    """A line for each layer without weights that an unused module fits but for its number of outputs.

    The two have the same name, or neither fits any other: what a net has in place of the model's own head is no other
    form of a layer that happens to have as many inputs.
    """
    without, unused = set(without), list(unused)
    fitting = [
        (layer, [name for name in unused if _other_outputs(modules[name], layer.slots[0].shape)])
        for layer in layers
        if layer.name in without and isinstance(layer.module, Convolution | InnerProduct)
    ]
    takers = Counter(name for _, names in fitting for name in names)
    lines = []
    for layer, names in fitting:
        named = [name for name in names if plain_name(name) == plain_name(layer.name)]
        if not named and len(names) == 1 and takers[names[0]] == 1:
            named = names
        if len(named) == 1:
            wanted, has = layer.slots[0].shape[0], modules[named[0]]["weight"].shape[0]
            lines.append(
                f"layer {layer.name} has {_count(wanted, 'output')}, module {named[0]} {has}: "
                "with --allow-missing it is left out, to start as its filler says"
            )
    return lines


def _other_outputs(tensors: Mapping[str, np.ndarray], shape: Sequence[int]) -> bool:
    if "weight" not in tensors or is_norm(tensors):
        return False
    weight = tensors["weight"].shape
    ones = (1,) * (len(shape) - 2)
    return weight[0] != shape[0] and (*weight[1:], *ones)[: len(shape) - 1] == tuple(shape[1:])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def plain_name(name: str) -> str:
    """A name by which a layer and a module count as the same: letters and digits alone, in small letters."""
    return re.sub(r"\W|_", "", name).lower()
