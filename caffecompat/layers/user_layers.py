"""A user's own layers: a Python file whose classes register themselves as ours do."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from pathlib import Path

from caffecompat.errors import CaffeCompatError
from caffecompat.layers.registry import layer_types

__all__ = ["load_layers"]


def load_layers(path: str | os.PathLike[str]) -> list[str]:
    """Run a Python file that registers layer classes (``from caffecompat.layers import Layer, register``).

    The file may also hold their emitters: functions with ``@emits("Type")`` of ``caffecompat.deploy.onnx.emission`` and
    of ``caffecompat.deploy.torch_source.emission``.

    Returns:
        The layer types that it added.

    Raises:
        CaffeCompatError: there is no such file, it fails, or it registers nothing.
    """
    file = Path(path)
    if not file.is_file():
        raise CaffeCompatError(f"--layers {file}: no such file")
    before = set(layer_types())
    spec = importlib.util.spec_from_file_location(_free_name(f"caffecompat_user_{file.stem}"), file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as problem:
        where = [frame for frame in traceback.extract_tb(problem.__traceback__) if frame.filename == str(file)]
        line = where[-1].lineno if where else getattr(problem, "lineno", None) or 1
        raise CaffeCompatError(f"{file}:{line}: {type(problem).__name__}: {problem}") from problem
    added = sorted(set(layer_types()) - before)
    if not added:
        raise CaffeCompatError(f'--layers {file}: it registers no layer; put @register("Type") above a class')
    return added


def _free_name(name: str) -> str:
    """The name, or one with a number after it where another file of that name was loaded."""
    count = 2
    free = name
    while free in sys.modules:
        free, count = f"{name}_{count}", count + 1
    return free
