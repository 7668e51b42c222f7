"""The net as Caffe executes it: layers and Splits in order over blobs by name, and what needs backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from caffecompat.net.build import NetLayer
from caffecompat.net.graph import with_automatic_tops
from caffecompat.net.params import LearnableParam
from caffecompat.net.splits import insert_splits

__all__ = ["Step", "make_steps"]


@dataclass(eq=False)
class Step:
    """One layer of Caffe's net; `layer` is None for a Split put in.

    `needs_backward` and `bottom_needs` are Caffe's ``layer_need_backward`` and
    ``bottom_need_backward``; `loss_weights` has an entry for each top.
    """

    param: Any
    layer: NetLayer | None
    bottoms: list[str]
    tops: list[str]
    loss_weights: list[float]
    bottom_needs: list[bool]
    needs_backward: bool = False

    @property
    def name(self) -> str:
        return str(self.param.name)

    @property
    def type(self) -> str:
        return str(self.param.type)


def make_steps(message: Any, layers: Sequence[NetLayer], params: Sequence[LearnableParam]) -> list[Step]:
    """Caffe's layer list for a filtered NetParameter whose layers are `layers`."""
    split, origins = insert_splits(message)
    steps = []
    for given, origin in zip(split.layer, origins, strict=True):
        param = with_automatic_tops(given)
        layer = layers[origin] if origin is not None else None
        # A weight that moved to a Split is no longer stated on the layer itself; defaults stay where they are.
        moved = layer is not None and bool(layer.param.loss_weight) and not param.loss_weight
        weights = list(param.loss_weight) if layer is None or moved else list(layer.loss_weights)
        steps.append(Step(param, layer, list(param.bottom), list(param.top), weights, []))
    rates = {id(param.blob): param.lr_mult for param in params}
    _mark_reached(steps, rates)
    _mark_unneeded(steps)
    if message.force_backward:
        for step in steps:
            step.needs_backward = True
            step.bottom_needs = [need or _can_need(step, i) for i, need in enumerate(step.bottom_needs)]
    return steps


def _mark_reached(steps: Sequence[Step], rates: dict[int, float]) -> None:
    """Forward: whatever stands on a learning parameter needs backward, unless propagate_down says otherwise."""
    blob_needs: dict[str, bool] = {}
    for step in steps:
        stated = list(step.param.propagate_down)
        step.bottom_needs = stated or [blob_needs.get(blob, False) for blob in step.bottoms]
        slots = step.layer.slots if step.layer is not None else []
        learns = any(rates[id(slot.parameter)] for slot in slots)
        step.needs_backward = learns or any(step.bottom_needs)
        blob_needs.update((blob, step.needs_backward) for blob in step.tops)


def _mark_unneeded(steps: Sequence[Step]) -> None:
    """Backward: what does not lie under a loss, or only feeds bottoms nobody asks a gradient of, needs none."""
    under_loss: set[str] = set()
    skipped: set[str] = set()
    for step in reversed(steps):
        weights = step.loss_weights or [0.0] * len(step.tops)
        contributes = any(w or blob in under_loss for w, blob in zip(weights, step.tops, strict=True))
        if all(blob in skipped for blob in step.tops):
            step.needs_backward = False
            step.bottom_needs = [False] * len(step.bottoms)
        if contributes:
            under_loss.update(step.bottoms)
        else:
            step.needs_backward = False
            step.bottom_needs = [False] * len(step.bottoms)
        skipped.update(blob for blob, need in zip(step.bottoms, step.bottom_needs, strict=True) if not need)


def _can_need(step: Step, bottom: int) -> bool:
    module = step.layer.module if step.layer is not None else None
    return module.needs_gradient(bottom) if module is not None else True
