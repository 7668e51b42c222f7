"""Where the relative paths inside prototxts lead."""

from __future__ import annotations

import os
from pathlib import Path

from caffecompat import glog

__all__ = ["find_file"]


def find_file(path: str, beside: str | os.PathLike[str] | None = None) -> str:
    """Resolve `path` from the current directory, as Caffe does, or else next to the file `beside`.

    The second way is announced by a log line. A path found nowhere comes back
    unchanged, so that the opener's error names what the user wrote.
    """
    if beside is None or os.path.isabs(path) or os.path.exists(path):
        return path
    near = Path(beside).parent / path
    if near.exists():
        glog.info(f"{path} is not in the current directory; using {near}")
        return str(near)
    return path
