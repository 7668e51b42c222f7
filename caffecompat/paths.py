"""Where the relative paths inside prototxts lead."""

from __future__ import annotations

import os
from pathlib import Path

from caffecompat import glog

__all__ = ["find_file", "with_slashes"]


def with_slashes(path: str) -> str:
    """A path with slashes for Windows' backslashes, unless there is a file of that very name; also a line of a list."""
    if "\\" not in path or os.path.exists(path):
        return path
    return path.replace("\\", "/")


def find_file(path: str, beside: str | os.PathLike[str] | None = None) -> str:
    """Resolve `path` from the current directory, as Caffe does, or else next to the file `beside`.

    Backslashes of Windows are read as slashes. The second way is announced by a log line. A path found nowhere comes
    back otherwise unchanged, so that the opener's error names what the user wrote.
    """
    path = with_slashes(path)
    if beside is None or os.path.isabs(path) or os.path.exists(path):
        return path
    near = Path(beside).parent / path
    if near.exists():
        glog.info(f"{path} is not in the current directory; using {near}")
        return str(near)
    return path
