"""Parameter blobs: where each lives, what it learns with, and which layers share it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from caffecompat.errors import CaffeCompatError
from caffecompat.layers import Layer
from caffecompat.net.problems import Problem
from caffecompat.schema import pb

if TYPE_CHECKING:
    from caffecompat.net.layer import NetLayer

__all__ = ["BlobSlot", "LearnableParam", "collect_params", "make_slots"]


@dataclass(eq=False)
class BlobSlot:
    """Parameter blob `index` of a layer.

    `owner` is the slot of the layer whose blob this one shares; None owns itself.
    The nn.Parameter is looked up in the layer each time, because sharing with
    another net replaces it: what is shown is what the layer computes with.
    """

    module: Layer
    name: str
    index: int
    shape: tuple[int, ...]
    learned: bool
    owner: BlobSlot | None = None

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter that holds the values, in the shape of the layer that owns it."""
        parameter = self.module._parameters.get(self.name)
        if parameter is None:
            raise CaffeCompatError(
                f"layer {self.module.param.name!r}: its {self.name} is no parameter any more (removed, or made of "
                "others by torch.nn.utils)"
            )
        return parameter

    def tensor(self) -> Tensor:
        """The values that the layer computes with, in its own shape; they share the parameter's memory.

        Raises:
            CaffeCompatError: somebody put a parameter of another size there, or none.
        """
        data = getattr(self.module, self.name, None)
        if not isinstance(data, Tensor) or data.numel() != math.prod(self.shape):
            found = f"of shape {tuple(data.shape)}" if isinstance(data, Tensor) else "nothing"
            raise CaffeCompatError(
                f"layer {self.module.param.name!r}: its {self.name} is {found}, by the prototxt it is of shape "
                f"{self.shape}"
            )
        data = data.detach()
        return data if data.shape == self.shape else data.view(self.shape)

    def share(self, parameter: nn.Parameter) -> None:
        """Compute with `parameter`, which has as many values, from now on."""
        self.module.share_blob(self.name, parameter)


@dataclass(eq=False)
class LearnableParam:
    """A parameter the solver updates: the blob that the layer `layer` owns at `index`, and its multipliers."""

    slot: BlobSlot
    layer: str
    index: int
    lr_mult: float = 1.0
    decay_mult: float = 1.0

    @property
    def blob(self) -> nn.Parameter:
        return self.slot.parameter


@dataclass
class _Named:
    """A parameter with a name in the prototxt, and which multipliers some layer has stated for it."""

    param: LearnableParam
    lr_stated: bool
    decay_stated: bool


def make_slots(module: Layer) -> list[BlobSlot]:
    """The slots of a fresh layer's own blobs, in Caffe's order."""
    return [
        BlobSlot(module, name, index, tuple(blob.shape), blob.requires_grad)
        for index, (name, blob) in enumerate(zip(module.blob_names, module.blobs, strict=True))
    ]


def collect_params(layers: Sequence[NetLayer], force_backward: bool) -> tuple[list[LearnableParam], list[Problem]]:
    """List the parameters in net order and let layers that name the same one share it.

    The rules are those of BVLC ``Net::AppendParam``: the first layer that names
    a parameter owns it; multipliers stated by several layers must agree, one
    stated by any layer counts. A blob with lr_mult 0 asks for no gradient.
    """
    params: list[LearnableParam] = []
    named: dict[str, _Named] = {}
    problems: list[Problem] = []
    for layer in layers:
        specs = layer.param.param
        if layer.module is not None and len(specs) > len(layer.slots):
            problems.append(
                Problem(layer.index, f"has {len(specs)} param {{ }} blocks but only {len(layer.slots)} parameter blobs")
            )
        for slot in layer.slots:
            spec = specs[slot.index] if slot.index < len(specs) else pb.ParamSpec()
            known = named.get(spec.name) if spec.name else None
            if known is None:
                param = LearnableParam(slot, layer.name, slot.index, spec.lr_mult, spec.decay_mult)
                params.append(param)
                if spec.name:
                    named[spec.name] = _Named(param, spec.HasField("lr_mult"), spec.HasField("decay_mult"))
                continue
            reason = _mismatch(slot, known, spec)
            if reason:
                problems.append(Problem(layer.index, f"shared parameter {spec.name!r} {reason}"))
            else:
                _share(slot, known, spec)
    for param in params:
        if not param.slot.learned:
            param.lr_mult = 0.0
        learns = param.lr_mult != 0 or force_backward
        param.blob.requires_grad_(param.slot.learned and learns)
    return params, problems


def _mismatch(slot: BlobSlot, known: _Named, spec: pb.ParamSpec) -> str | None:
    owner = known.param.slot
    if spec.share_mode == pb.ParamSpec.PERMISSIVE:
        fits = slot.parameter.numel() == owner.parameter.numel()
    else:
        fits = slot.shape == owner.shape
    if not fits:
        mode = " by count (share_mode: PERMISSIVE)" if spec.share_mode == pb.ParamSpec.PERMISSIVE else ""
        return f"has shape {slot.shape} here but {owner.shape} in layer {known.param.layer!r}, which owns it{mode}"
    for field, stated in (("lr_mult", known.lr_stated), ("decay_mult", known.decay_stated)):
        here, there = getattr(spec, field), getattr(known.param, field)
        if stated and spec.HasField(field) and here != there:
            return f"has {field} {here:g} here but {there:g} in another layer; state it once or alike"
    return None


def _share(slot: BlobSlot, known: _Named, spec: pb.ParamSpec) -> None:
    param = known.param
    slot.owner = param.slot
    slot.share(param.blob)
    if spec.HasField("lr_mult"):
        param.lr_mult, known.lr_stated = spec.lr_mult, True
    if spec.HasField("decay_mult"):
        param.decay_mult, known.decay_stated = spec.decay_mult, True
