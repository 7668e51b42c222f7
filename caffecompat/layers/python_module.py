"""Finding the class of a Python layer: where modules are looked for, and what `import caffe` means in them."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

from caffecompat import glog
from caffecompat.layers.layer import LayerError

__all__ = ["CodeMissing", "ModuleMissing", "caffe_importable", "import_user_module", "place_of", "search_path"]


class CodeMissing(LayerError):
    """The code of a Python layer cannot be had."""


class ModuleMissing(CodeMissing):
    """No module of that name is anywhere, or it is written for Python 2."""


def search_path(relative_to: str | os.PathLike[str] | None) -> list[str]:
    """Folders to look in besides Python's own path: the current one, and that of the prototxt."""
    folders = [os.getcwd()]
    if relative_to is not None:
        folders.append(os.path.dirname(os.path.abspath(relative_to)))
    return [folder for folder in dict.fromkeys(folders) if folder not in sys.path]


@cache
def _face() -> dict[str, ModuleType]:
    """The modules of caffecompat's pycaffe under the names that ``import caffe`` looks for."""
    before = set(sys.modules)
    # By name, because layers lie below pycaffe: only a user's module asks for it, when all is loaded.
    importlib.import_module("caffecompat.pycaffe.binding").install()
    named = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "caffe"}
    for name in set(named) - before:
        del sys.modules[name]
    return named


@contextmanager
def caffe_importable() -> Iterator[None]:
    """While it holds, ``import caffe`` gives caffecompat's pycaffe, unless another caffe is imported already."""
    if "caffe" in sys.modules:
        yield
        return
    names = _face()
    sys.modules.update(names)
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


def import_user_module(name: str, relative_to: str | os.PathLike[str] | None) -> ModuleType:
    """Import the module of a Python layer.

    It is looked for on Python's path, then in the current folder, then in that
    of the prototxt `relative_to`.

    Raises:
        ModuleMissing: it is nowhere, or Python 2 code.
        CodeMissing: it fails while it is imported.
    """
    folders = search_path(relative_to)
    fresh = name not in sys.modules
    sys.path.extend(folders)
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            looked = ", ".join(["Python's path (PYTHONPATH)", *folders])
            raise ModuleMissing(f"there is no Python module {name!r}; looked in {looked}") from None
        raise CodeMissing(f"module {name!r} cannot be imported: {error} ({place_of(error)})") from error
    except SyntaxError as error:
        raise ModuleMissing(
            f"module {name!r} cannot be imported: {error.filename}:{error.lineno}: {type(error).__name__}: "
            f"{error.msg}; is it Python 2 code?"
        ) from error
    except Exception as error:
        raise CodeMissing(
            f"module {name!r} cannot be imported: {place_of(error)}: {type(error).__name__}: {error}"
        ) from error
    finally:
        for folder in folders:
            sys.path.remove(folder)
    where = getattr(module, "__file__", None) or ""
    if fresh and os.path.dirname(where) in folders:
        glog.info(f"module {name} is not on Python's path; using {where}")
    return module


def place_of(error: BaseException, file: str = "") -> str:
    """``file:line`` of the deepest frame of a traceback that lies in `file` (or at all)."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file] or frames
    return f"{own[-1].filename}:{own[-1].lineno}" if own else file
