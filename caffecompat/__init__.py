"""Caffe's files and nets on PyTorch: read them, train them under Caffe's rules, write them back.

The names below are what users may rely on. They are imported when first used, so ``import caffecompat`` is instant
and what needs no torch never loads it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caffecompat import pycaffe
    from caffecompat.errors import CaffeCompatError
    from caffecompat.formats import load_caffemodel, open_caffemodel, save_caffemodel
    from caffecompat.net import load_net
    from caffecompat.schema import read_net, read_solver, write_text
    from caffecompat.solver import Solver
    from caffecompat.threads import configure_threads

__version__ = "0.1.0"

__all__ = [
    "CaffeCompatError",
    "Solver",
    "configure_threads",
    "load_caffemodel",
    "load_net",
    "open_caffemodel",
    "pycaffe",
    "read_net",
    "read_solver",
    "save_caffemodel",
    "write_text",
]

_HOMES = {
    "CaffeCompatError": "caffecompat.errors",
    "Solver": "caffecompat.solver",
    "configure_threads": "caffecompat.threads",
    "load_caffemodel": "caffecompat.formats",
    "load_net": "caffecompat.net",
    "open_caffemodel": "caffecompat.formats",
    "read_net": "caffecompat.schema",
    "read_solver": "caffecompat.schema",
    "save_caffemodel": "caffecompat.formats",
    "write_text": "caffecompat.schema",
}


def __getattr__(name: str) -> Any:
    if name == "pycaffe":
        return importlib.import_module("caffecompat.pycaffe")
    if name not in _HOMES:
        raise AttributeError(f"module 'caffecompat' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
