"""Whether a layer computes once more what it has computed already, as activation checkpointing has it do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["is_recomputing", "recomputing"]

_running = [False]  # one for all threads: on a GPU backward, and so recomputation, has its own


@contextmanager
def recomputing() -> Iterator[None]:
    """What layers compute meanwhile was computed before: they leave no statistics of it."""
    _running[0] = True
    try:
        yield
    finally:
        _running[0] = False


def is_recomputing() -> bool:
    """Whether the pass is the second over the same values."""
    return _running[0]
