"""Python identifiers for Caffe's names."""

from __future__ import annotations

import re

__all__ = ["identifier"]


def identifier(name: str) -> str:
    """The name of a layer or blob as a Python identifier; it may still be a keyword, or stand for several names.

    It never begins with two underscores: Python changes such names in the body of a class, and has its own of the kind.

    >>> identifier("conv1/7x7_s2"), identifier("3x3"), identifier("__conv"), identifier("")
    ('conv1_7x7_s2', '_3x3', '_conv', '_')
    """
    made = re.sub(r"^__+", "_", re.sub(r"\W", "_", name, flags=re.ASCII)) or "_"
    return f"_{made}" if made[0].isdigit() else made
