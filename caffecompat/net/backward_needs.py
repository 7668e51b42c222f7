"""Which layers and bottoms need backward, by Caffe's rules (BVLC ``Net::Init``)."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.net.layer import Split, Step
from caffecompat.net.params import LearnableParam

__all__ = ["mark_needs"]


def mark_needs(steps: Sequence[Step], params: Sequence[LearnableParam], force_backward: bool) -> None:
    """Set `needs_backward` and `bottom_needs` of a net's layers and Splits."""
    _mark_reached(steps, {id(param.blob): param.lr_mult for param in params})
    _mark_unneeded(steps)
    if force_backward:
        for step in steps:
            step.needs_backward = True
            step.bottom_needs = [need or _can_need(step, i) for i, need in enumerate(step.bottom_needs)]


def _mark_reached(steps: Sequence[Step], rates: dict[int, float]) -> None:
    """Forward: whatever comes after a learning parameter needs backward, unless propagate_down says otherwise."""
    blob_needs: dict[str, bool] = {}
    for step in steps:
        stated: list[bool] = [] if isinstance(step, Split) else list(step.param.propagate_down)
        step.bottom_needs = stated or [blob_needs.get(blob, False) for blob in step.split_bottoms]
        slots = [] if isinstance(step, Split) else step.slots
        learns = any(rates[id(slot.parameter)] for slot in slots)
        step.needs_backward = learns or any(step.bottom_needs)
        blob_needs.update((blob, step.needs_backward) for blob in step.tops)


def _mark_unneeded(steps: Sequence[Step]) -> None:
    """Backward: what does not lie under a loss, or only feeds bottoms nobody asks a gradient of, needs none."""
    under_loss: set[str] = set()
    skipped: set[str] = set()
    for step in reversed(steps):
        weights = step.split_loss_weights or [0.0] * len(step.tops)
        contributes = any(w or blob in under_loss for w, blob in zip(weights, step.tops, strict=True))
        if all(blob in skipped for blob in step.tops):
            step.needs_backward = False
            step.bottom_needs = [False] * len(step.split_bottoms)
        if contributes:
            under_loss.update(step.split_bottoms)
        else:
            step.needs_backward = False
            step.bottom_needs = [False] * len(step.split_bottoms)
        skipped.update(blob for blob, need in zip(step.split_bottoms, step.bottom_needs, strict=True) if not need)


def _can_need(step: Step, bottom: int) -> bool:
    return step.module.needs_gradient(bottom) if step.module is not None else True
