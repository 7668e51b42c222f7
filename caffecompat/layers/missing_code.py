"""Nets that are only looked at: a Python layer whose code is not here costs that layer alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from caffecompat.wording import few

__all__ = ["PassedOver", "passed_over", "passing_over_missing_code"]


@dataclass
class PassedOver:
    """Python layers whose code could not be had, while nets are looked at.

    Attributes:
        size: (height, width) of the pictures that such a layer makes where it has no bottoms; None: not known.
        channels: of these pictures.
        layers: reason -> names of the layers.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    layers: dict[str, list[str]] = field(default_factory=dict)

    def note(self, layer: str, reason: str) -> None:
        """Remember a layer; nets may be built several times."""
        names = self.layers.setdefault(reason, [])
        if layer not in names:
            names.append(layer)

    def lines(self) -> list[str]:
        """What to report, a line for each reason."""
        return [
            f"layer {few([repr(name) for name in names])} (Python): {reason}; passed over, its tops are taken to have "
            "its first bottom's shape"
            for reason, names in self.layers.items()
        ]


_present: ContextVar[PassedOver | None] = ContextVar("passed over", default=None)


def passed_over() -> PassedOver | None:
    """Where to note a layer without code; None where it is an error."""
    return _present.get()


@contextmanager
def passing_over_missing_code(size: tuple[int, int] | None = None, channels: int | None = None) -> Iterator[PassedOver]:
    """While it holds, nets are made with Python layers whose code is missing or fails when it is imported or set up.

    For verbs that look at a net and compute nothing of worth with it; such a layer passes its first bottom on.
    """
    token = _present.set(PassedOver(size, channels))
    try:
        present = _present.get()
        assert present is not None
        yield present
    finally:
        _present.reset(token)
