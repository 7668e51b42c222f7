"""Finding the class of a Python layer: where modules are looked for, and what `import caffe` means in them."""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

from caffecompat import glog
from caffecompat.layers.layer import LayerError
from caffecompat.python_code import python_folders

__all__ = ["ModuleMissing", "caffe_importable", "import_user_module", "place_of", "search_path"]


class ModuleMissing(LayerError):
    """No module of that name is in any of the folders, or it is written for Python 2."""


def search_path(relative_to: str | os.PathLike[str] | None) -> list[str]:
    """Folders in which modules of Python layers are looked for, absolute, in order (see `python_path`)."""
    named = python_folders()
    folders = [folder for folder in sys.path if not _is_interpreters(folder)] if named is None else list(named)
    if relative_to is not None:
        folders.append(os.path.dirname(os.path.abspath(relative_to)))
    return list(dict.fromkeys(map(os.path.abspath, folders)))


@cache
def _is_interpreters(folder: str) -> bool:
    """Whether a folder of ``sys.path`` holds the standard library or installed packages."""
    own = {os.path.realpath(path) for path in sysconfig.get_paths().values()}
    where = os.path.realpath(folder)
    return (
        where in own
        or os.path.basename(where) in ("site-packages", "dist-packages", "lib-dynload")
        or where.endswith(".zip")
    )


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
    """Import the module of a Python layer from the folders of :func:`search_path`, or take it where it is imported.

    Never a module of the standard library, nor one of an installed package: a file of the user's that has such a
    name is run under another.

    Raises:
        ModuleMissing: it is nowhere, or Python 2 code.
        LayerError: it fails while it is imported.
    """
    top = name.partition(".")[0]
    standard = top in sys.stdlib_module_names
    if name in sys.modules and not standard:
        return sys.modules[name]
    folders = search_path(relative_to)
    importlib.invalidate_caches()
    spec = _find_spec(top, folders)
    if spec is None:
        raise ModuleMissing(f"there is no Python module {name!r}; {_looked_in(folders, top, standard)}")
    with _first_found(top, spec), _after_sys_path(folders):
        module = _run_module(name, spec if standard else None)
    where = getattr(module, "__file__", None) or ""
    near = folders[-1] if relative_to is not None else None
    if os.path.dirname(where) == near and near not in map(os.path.abspath, sys.path):
        glog.info(f"module {name} is not on Python's path; using {where}")
    return module


def _find_spec(top: str, folders: Sequence[str]) -> ModuleSpec | None:
    try:
        return PathFinder.find_spec(top, list(folders))
    except ValueError:  # a name with NUL or of no letters at all
        return None


def _looked_in(folders: Sequence[str], top: str, standard: bool) -> str:
    near = "" if _find_spec(top, [os.getcwd()]) is None else "; there is one in the current folder: --python-path ."
    own = f" ({top} of Python's standard library is no layer's code)" if standard else ""
    return f"looked in PYTHONPATH, --python-path and the prototxt's folder: {', '.join(folders) or 'none'}{own}{near}"


@contextmanager
def _first_found(top: str, spec: ModuleSpec) -> Iterator[None]:
    """While it holds, a module of that name is the one of that spec, whatever else is on ``sys.path``."""

    class Finder:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
            return spec if name == top else None

    sys.meta_path.insert(0, Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(Finder)


@contextmanager
def _after_sys_path(folders: Sequence[str]) -> Iterator[None]:
    """While it holds, modules that the user's imports are found in these folders too."""
    added = [folder for folder in folders if folder not in sys.path]
    sys.path.extend(added)
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)


def _run_module(name: str, standard: ModuleSpec | None) -> ModuleType:
    """Import it; a file that has a standard module's name, with its spec given, under a name of its own."""
    try:
        return importlib.import_module(name) if standard is None else _run_alone(name, standard)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ModuleMissing(f"there is no Python module {name!r}; {error}") from None
        raise LayerError(f"module {name!r} cannot be imported: {error} ({place_of(error)})") from error
    except SyntaxError as error:
        raise ModuleMissing(
            f"module {name!r} cannot be imported: {error.filename}:{error.lineno}: {type(error).__name__}: "
            f"{error.msg}; is it Python 2 code?"
        ) from error
    except Exception as error:
        raise LayerError(
            f"module {name!r} cannot be imported: {place_of(error)}: {type(error).__name__}: {error}"
        ) from error


def _run_alone(name: str, spec: ModuleSpec) -> ModuleType:
    known = f"caffecompat_python_{name}"
    if spec.origin is None or "." in name:
        raise ModuleMissing(f"module {name!r} has the name of a package of Python's standard library; rename it")
    if known not in sys.modules:
        own = spec_from_file_location(known, spec.origin)
        assert own is not None and own.loader is not None
        module = sys.modules[known] = module_from_spec(own)
        try:
            own.loader.exec_module(module)
        except BaseException:
            del sys.modules[known]
            raise
    return sys.modules[known]


def place_of(error: BaseException, file: str = "") -> str:
    """``file:line`` of the deepest frame of a traceback that lies in `file` (or at all)."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file] or frames
    return f"{own[-1].filename}:{own[-1].lineno}" if own else file
