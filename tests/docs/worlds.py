"""What lies in a page's folder before its first block: small generated data under the names that the page uses."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["LONG", "make"]

# Worlds whose pages take minutes: 'make nightly' runs them.
LONG: tuple[str, ...] = ()


def make(name: str) -> None:
    """Write the files of a world into the current folder."""
    if name:
        _WORLDS[name]()


_WORLDS: dict[str, Callable[[], None]] = {}
