"""Where a ReLU or a FixedNeuron may write over its bottom instead of allocating a top.

Whether the prototxt says in place does not matter: blobs are values. What
matters is that nobody else reads the bottom, and that the backward pass of the
layer that made it does not need it (a FixedNeuron works in place without
gradients only). ESPNet forward and backward on the CPU: about a tenth faster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules import module as every_module

from caffecompat.layers import Layer
from caffecompat.layers.activation import ReLU
from caffecompat.layers.elementwise import Eltwise
from caffecompat.layers.fixed import FixedNeuron
from caffecompat.layers.shape import Concat
from caffecompat.net.graph import Graph
from caffecompat.net.layer import NetLayer
from caffecompat.net.module import returned_values
from caffecompat.schema import pb

__all__ = ["find_inplace"]


class InPlace:
    """Which layers of a net work in place: those that may, unless it is off or a hook looks at what would be lost.

    Hooks are looked for before each pass. (A ReLU that writes over the convolution's top would change what a forward
    hook there has kept, and torch refuses it where a full backward hook is.)

    Args:
        pairs: the layers that may, each with the layer whose top it writes over.
    """

    def __init__(self, pairs: Sequence[tuple[NetLayer, NetLayer]]) -> None:
        self.layers = [layer for layer, _ in pairs]
        self._makers = [maker for _, maker in pairs]
        self._modules: list[tuple[Any, Layer]] = [(a.module, b.module) for a, b in pairs if a.module and b.module]
        self.allow(True)

    def without(self, layer: NetLayer) -> InPlace:
        """Those that may where some other module takes the place of `layer`'s."""
        for module, _ in self._modules:
            module.inplace = False
        pairs = zip(self.layers, self._makers, strict=True)
        fewer = InPlace([pair for pair in pairs if layer not in pair])
        fewer.allow(self._allowed)
        return fewer

    def allow(self, allowed: bool) -> None:
        """Let layers work in place, or keep all blobs as they are made."""
        self._allowed = allowed
        for module, _ in self._modules:
            module.inplace = allowed

    def update(self) -> None:
        """Decide for the pass that comes."""
        watched = _hooked_everywhere()
        for module, maker in self._modules:
            wanted = self._allowed and not (watched or _hooked(module) or _hooked(maker))
            if module.inplace is not wanted:
                module.inplace = wanted


def _hooked_everywhere() -> bool:
    """Whether hooks hold for all modules (`torch.nn.modules.module.register_module_forward_hook` and its like)."""
    return bool(
        every_module._global_forward_hooks
        or every_module._global_backward_hooks
        or every_module._global_forward_pre_hooks
        or every_module._global_backward_pre_hooks
    )


def _hooked(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._backward_hooks or module._forward_pre_hooks or module._backward_pre_hooks
    )


def find_inplace(graph: Graph, layers: Sequence[NetLayer]) -> list[tuple[NetLayer, NetLayer]]:
    """The layers that may work in place, each with the layer whose top it writes over."""
    returned = set(returned_values(graph, layers).values())
    readers = Counter(value for layer in layers for value in layer.bottom_values)
    return [
        (layer, layers[bottom.maker])
        for layer in layers
        if isinstance(layer.module, ReLU | FixedNeuron)
        and (bottom := layer.bottom_values[0]) is not None
        and readers[bottom] == 1
        and bottom not in returned
        and (_may_be_lost(maker := layers[bottom.maker]) or _is_neuron_after_relu(layer, maker))
    ]


def _is_neuron_after_relu(layer: NetLayer, maker: NetLayer) -> bool:
    """Only the backward pass of the ReLU needs its top."""
    return isinstance(layer.module, FixedNeuron) and isinstance(maker.module, ReLU)


def _may_be_lost(maker: NetLayer) -> bool:
    if maker.module is not None and maker.module.frees_top:
        return True
    if len(maker.bottoms) < 2:  # a sum or concatenation of one may hand its bottom on
        return False
    return isinstance(maker.module, Concat) or (
        isinstance(maker.module, Eltwise) and maker.param.eltwise_param.operation == pb.EltwiseParameter.SUM
    )
