"""Old names of what users can reach: they work for one version, and a DeprecationWarning names the new one."""

from __future__ import annotations

import warnings
from typing import Any

__all__ = ["RenamedAttribute", "warn_renamed"]


def warn_renamed(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn in the caller's caller that `old` is called `new` now."""
    warnings.warn(f"{old} is now called {new}; the old name will be removed", DeprecationWarning, stacklevel)


class RenamedAttribute:
    """An attribute under its old name: ``ignored = RenamedAttribute("unexpected")`` in the body of a class."""

    def __init__(self, new: str) -> None:
        self.new = new

    def __set_name__(self, owner: type, name: str) -> None:
        self.old = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        warn_renamed(f"{owner.__name__}.{self.old}", self.new)
        return getattr(instance, self.new)
