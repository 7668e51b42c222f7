"""NaN and infinity in a net: which weights hold them, and the first layer whose result does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net

__all__ = ["NonFiniteError", "NonFiniteValues", "watch_values"]

_NAMED = 5  # weights in a message; of a net that diverged all hold NaN


class NonFiniteError(CaffeCompatError):
    """What a comparison is based on is not finite, so that agreement says nothing."""

    status = 1


@dataclass
class NonFiniteValues:
    """Where a net holds NaN or infinity.

    Attributes:
        weights: a text for each parameter blob that holds such values.
        first: the first layer, in the order of computation, whose result holds them, and how many; "" for none.
    """

    weights: list[str] = field(default_factory=list)
    first: str = ""

    def __bool__(self) -> bool:
        return bool(self.weights or self.first)

    def __str__(self) -> str:
        more = f" and {len(self.weights) - _NAMED} more blobs" if len(self.weights) > _NAMED else ""
        held = f"NaN or infinity in the weights: {', '.join(self.weights[:_NAMED])}{more}" if self.weights else ""
        computed = f"the first layer to compute NaN or infinity is {self.first}" if self.first else ""
        return "; ".join(part for part in (held, computed) if part)

    def refuse(self, allowed: bool) -> None:
        """End a comparison that has such values, unless they are allowed.

        Raises:
            NonFiniteError: it has, and they are not.
        """
        if self and not allowed:
            raise NonFiniteError(
                f"{self}. Agreement of such values says nothing about the rest, so nothing was written; "
                "--allow-nonfinite goes on where both sides have them at the same places"
            )


@contextlib.contextmanager
def watch_values(net: Net) -> Iterator[NonFiniteValues]:
    """Watch what a net computes inside the block; its weights are looked at when the block begins.

    Yields:
        What was found so far; complete after the block.
    """
    found = NonFiniteValues(_in_weights(net))
    hooks = []

    def look(made: Tensor | tuple[Tensor, ...], name: str) -> None:
        for top in made if isinstance(made, tuple) else (made,):
            count = 0 if found.first else _count(top)
            if count:
                found.first = f"{name}: {count} of {top.numel()} values"

    for layer in net.layers:
        if layer.module is not None:
            text = f"{layer.name!r} ({layer.type})"
            hooks.append(layer.module.register_forward_hook(lambda _, __, made, text=text: look(made, text)))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _in_weights(net: Net) -> list[str]:
    texts = []
    for layer in net.layers:
        for slot in layer.slots:
            count = _count(slot.tensor()) if slot.owner is None else 0
            if count:
                texts.append(f"{layer.name!r} blob {slot.index} ({count} of {slot.tensor().numel()} values)")
    return texts


def _count(values: torch.Tensor) -> int:
    """How many are NaN or infinity; quick where none is."""
    if not values.is_floating_point() or not values.numel() or bool(torch.isfinite(values).all()):
        return 0
    return int((~torch.isfinite(values)).sum())
