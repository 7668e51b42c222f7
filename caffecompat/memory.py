"""Out of memory: knowing such an error whatever library raises it, how much it asked for, and in which layer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from traceback import walk_tb
from typing import Any

from caffecompat.errors import CaffeCompatError

__all__ = ["OutOfMemory", "asked_for", "gigabytes", "is_out_of_memory", "layers_in", "out_of_memory"]

# torch on CPU and GPU, its libraries, OpenCV, onnxruntime; numpy and Python have a class of their own.
_SIGNS = re.compile(
    r"can't allocate memory|not enough memory|out of memory|STATUS_ALLOC_FAILED|bad_alloc|bad allocation"
    r"|insufficient memory|failed to allocate|unable to allocate|cannot allocate memory",
    re.IGNORECASE,
)
_AMOUNT = re.compile(r"(?:allocate|buffer of size)\s+([\d.]+)\s*(bytes|[KMGTPE]i?B)?", re.IGNORECASE)
_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50, "e": 2**60}


class OutOfMemory(CaffeCompatError):
    """There was not enough memory for what was to be computed."""

    status = 1  # nothing that was read is at fault


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of any library says that there is no memory left."""
    if isinstance(error, (MemoryError, OutOfMemory)):
        return True
    return not isinstance(error, CaffeCompatError) and _SIGNS.search(str(error)) is not None


def asked_for(error: BaseException) -> int | None:
    """How many bytes were asked for, as far as the error says."""
    found = _AMOUNT.search(str(error))
    return round(float(found[1]) * _UNITS[(found[2] or "b")[0].lower()]) if found else None


def layers_in(error: BaseException) -> Iterator[Any]:
    """The LayerParameters of the layers whose code was running, the innermost first."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__) if "self" in frame.f_code.co_varnames]
    for frame in reversed(frames):
        variables = frame.f_locals
        param = getattr(variables.get("self"), "param", None)
        if type(variables) is dict:  # a copy, before Python 3.13, that would keep what it refers to
            variables.clear()
        if type(param).__name__ == "LayerParameter":
            yield param


def gigabytes(count: float) -> str:
    """A number of bytes for people."""
    if count >= 1e8:
        return f"{count / 1e9:,.2f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def out_of_memory(error: BaseException) -> OutOfMemory:
    """The same as one line: what is known without the net."""
    if isinstance(error, OutOfMemory):
        return error
    asked = asked_for(error)
    layer = next(layers_in(error), None)
    amount = f": {gigabytes(asked)} were asked for" if asked else ""
    where = f" by layer {layer.name!r} ({layer.type})" if layer is not None else ""
    return OutOfMemory(f"not enough memory{amount}{where}; a smaller net, batch or picture needs less")
