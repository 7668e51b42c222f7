"""Where a layer may write over its bottom, or two be one call, because nobody sees the blob between them.

A ReLU or a FixedNeuron may write over its bottom instead of allocating a top. Whether the prototxt says in place does
not matter: blobs are values. What matters is that nobody else reads the bottom, and that the backward pass of the layer
that made it does not need it (a FixedNeuron works in place without gradients only). ESPNet forward and backward on the
CPU: about a tenth faster.

In training BVLC's BatchNorm multiplies and adds for the Scale that follows it, in torch's one kernel for both, and the
Scale hands on what it gets. The sums are those of two layers, rounded once less; the blob between them, and the pass
that writes it, are saved. A ReLU after the Scale then writes over that top.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules import module as every_module

from caffecompat.layers.activation import ReLU
from caffecompat.layers.concat import Concat
from caffecompat.layers.elementwise import Eltwise
from caffecompat.layers.fixed import FixedNeuron
from caffecompat.layers.normalization import BatchNorm
from caffecompat.layers.scale import Scale
from caffecompat.net.graph import Graph
from caffecompat.net.layer import NetLayer, Value
from caffecompat.net.module import returned_values
from caffecompat.schema import pb

__all__ = ["Shortcuts", "find_shortcuts"]


class Shortcuts:
    """Which layers of a net work in place, or in the layer before: those that may, unless a blob that is lost is seen.

    It is where shortcuts are off, or a hook is on one of the two layers. Hooks are looked for before each pass. (A ReLU
    that writes over the convolution's top would change what a forward hook there has kept, and torch refuses it where a
    full backward hook is.)

    Args:
        pairs: the layers that may, each with the layer whose top is lost.
    """

    def __init__(self, pairs: Sequence[tuple[NetLayer, NetLayer]]) -> None:
        self._pairs = list(pairs)
        self._modules: list[tuple[Any, Any]] = [(a.module, b.module) for a, b in pairs if a.module and b.module]
        self._taken = [False] * len(self._modules)
        self.allow(True)

    @property
    def pairs(self) -> list[tuple[NetLayer, NetLayer]]:
        """The layers that may, each with the layer whose top is lost."""
        return list(self._pairs)

    @property
    def allowed(self) -> bool:
        """Whether layers may take any."""
        return self._allowed

    @property
    def in_place(self) -> list[NetLayer]:
        """The layers that may write over their bottoms."""
        return [layer for layer, _ in self._pairs if not isinstance(layer.module, Scale)]

    def without(self, layer: NetLayer) -> Shortcuts:
        """Those that may where some other module takes the place of `layer`'s."""
        allowed = self._allowed
        self.allow(False)
        fewer = Shortcuts([pair for pair in self._pairs if layer not in pair])
        fewer.allow(allowed)
        return fewer

    def allow(self, allowed: bool) -> None:
        """Let layers take their shortcuts, or keep all blobs as they are made."""
        self._allowed = allowed
        for at in range(len(self._modules)):
            self._switch(at, allowed)

    def update(self) -> None:
        """Decide for the pass that comes."""
        watched = _hooked_everywhere()
        for at, (module, maker) in enumerate(self._modules):
            wanted = self._allowed and not (watched or _hooked(module) or _hooked(maker))
            if self._taken[at] is not wanted:
                self._switch(at, wanted)

    def _switch(self, at: int, taken: bool) -> None:
        module, maker = self._modules[at]
        if isinstance(module, Scale):
            maker.followed_by = (module,) if taken else ()
            module.applied_before = taken
        else:
            module.inplace = taken
        self._taken[at] = taken


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


def find_shortcuts(graph: Graph, layers: Sequence[NetLayer]) -> list[tuple[NetLayer, NetLayer]]:
    """The layers that may take a shortcut, each with the layer whose top is lost."""
    returned = set(returned_values(graph, layers).values())
    readers = Counter(value for layer in layers for value in layer.bottom_values)

    def unseen(value: Value | None) -> bool:
        return value is not None and readers[value] == 1 and value not in returned

    pairs = [
        (layer, layers[layer.known_bottoms[0].maker])
        for layer in layers
        if unseen(next(iter(layer.bottom_values), None))
    ]
    return [(layer, maker) for layer, maker in pairs if _works_over(layer, maker) or _is_affine_of(layer, maker)]


def _works_over(layer: NetLayer, maker: NetLayer) -> bool:
    """Whether a layer may write over the top of another; only the backward pass of a ReLU needs that one's."""
    neuron = isinstance(layer.module, FixedNeuron)
    after_relu = neuron and isinstance(maker.module, ReLU)
    return (neuron or isinstance(layer.module, ReLU)) and (after_relu or _may_be_lost(maker))


def _may_be_lost(maker: NetLayer) -> bool:
    if maker.module is not None and maker.module.frees_top:
        return True
    if len(maker.bottoms) < 2:  # a sum or concatenation of one may hand its bottom on
        return False
    return isinstance(maker.module, Concat) or (
        isinstance(maker.module, Eltwise) and maker.param.eltwise_param.operation == pb.EltwiseParameter.SUM
    )


def _is_affine_of(layer: NetLayer, maker: NetLayer) -> bool:
    """Whether a layer is the Scale, one value a channel, of a BatchNorm without one that computes as precisely."""
    scale, norm = layer.module, maker.module
    return (
        type(scale) is Scale  # not those in fixed point
        and type(norm) is BatchNorm
        and norm.training
        and norm.scale is None
        and len(layer.bottoms) == 1
        and scale.axis == 1
        and tuple(scale.scale.shape) == (norm.channels,)
        and scale.bias is not None
        and layer.precision is maker.precision
        and all(layer.param.propagate_down)
    )
