"""A user's own layers: a Python file whose classes register themselves as ours do."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path

from caffecompat.errors import CaffeCompatError
from caffecompat.layers.registry import layer_types
from caffecompat.python_code import shape_rules

__all__ = ["load_layers"]


def load_layers(path: str | os.PathLike[str]) -> list[str]:
    """Run a Python file that registers layer classes (``from caffecompat.layers import Layer, register``).

    The file may also hold their emitters: functions with ``@emits("Type")`` of ``caffecompat.deploy.onnx.emission`` and
    of ``caffecompat.deploy.torch_source.emission``.

    It may also, or instead, say the shapes of Python layers (:func:`~caffecompat.python_code.python_shape`).

    Returns:
        The layer types that it added.

    Raises:
        CaffeCompatError: there is no such file, it fails, or it registers nothing.
    """
    file = Path(path)
    if not file.is_file():
        raise CaffeCompatError(f"--layers {file}: no such file")
    before, hints = set(layer_types()), len(shape_rules())
    name = _free_name(f"caffecompat_user_{file.stem}")
    spec = importlib.util.spec_from_loader(name, SourceFileLoader(name, str(file)))  # whatever its name ends in
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
    if not added and len(shape_rules()) == hints:
        raise CaffeCompatError(f'--layers {file}: it registers no layer; put @register("Type") above a class')
    return added


def _free_name(name: str) -> str:
    """The name, or one with a number after it where another file of that name was loaded."""
    count = 2
    free = name
    while free in sys.modules:
        free, count = f"{name}_{count}", count + 1
    return free
