"""Where the relative paths inside prototxts lead: from the current directory, as in Caffe, or from the file's folder.

All fields that name files to read come here, so that they behave alike. (Where Python layers' modules are looked for
is the business of ``python_layer``.)
"""

from __future__ import annotations

import os
import re
from typing import Any

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.wording import did_you_mean

__all__ = ["RelativeTo", "find_file", "for_opencv", "is_file_name", "look_up", "tried", "with_slashes"]

_NO_FILE_NAME = re.compile(r"[\x00-\x1f/\\:\x7f]")

RelativeTo = str | os.PathLike[str] | None


def with_slashes(path: str) -> str:
    """A path with slashes for Windows backslashes, unless there is a file of that very name; also a line of a list."""
    if "\\" not in path or os.path.exists(path):
        return path
    return path.replace("\\", "/")


def for_opencv(path: str | os.PathLike[str]) -> Any:
    """A path as OpenCV takes it: its bytes, since OpenCV dies of a text that is not UTF-8."""
    return os.fsencode(path)


def is_file_name(name: str) -> bool:
    r"""Whether a name that comes out of a file can be that of a file, on any system, and leads to no other folder.

    >>> [is_file_name(name) for name in ("car.txt", "../car.txt", "C:car", "a\nb", "")]
    [True, False, False, False, False]
    """
    return bool(name) and name not in (".", "..") and not _NO_FILE_NAME.search(name)


def find_file(
    path: str, relative_to: RelativeTo = None, refusal: type[Exception] = CaffeCompatError, *, field: str = ""
) -> str:
    """Resolve `path` from the current directory, as Caffe does, or else next to the file `relative_to`.

    Backslashes of Windows are read as slashes. The second way is announced by a log line.

    Args:
        field: which names the path, for the message.

    Raises:
        refusal: there is no such file or folder at either place; the message names both.
    """
    found = look_up(path, relative_to)
    if found is None:
        head = f"{field}: {path}" if field else path
        raise refusal(f"{head}: there is no such file or folder{tried(path, relative_to)}{_near(path, relative_to)}")
    if found != with_slashes(path):
        glog.info(f"{path} is not in the current directory; using {found}")
    return found


def look_up(path: str, relative_to: RelativeTo = None) -> str | None:
    """What `find_file` gives, without a word; None where there is no such file."""
    if not path:
        return None
    return next((place for place in _places(path, relative_to) if os.path.exists(place)), None)


def tried(path: str, relative_to: RelativeTo = None) -> str:
    """``; tried A and B (beside P)``, for the end of a message about a missing file; "" for absolute paths."""
    if os.path.isabs(path):
        return ""
    try:
        here, *near = map(os.path.abspath, _places(path, relative_to))
    except OSError:
        return "; the current folder is gone"
    more = f" and {near[0]} (beside {os.fspath(relative_to or '')})" if near and near[0] != here else ""
    return f"; tried {here}{more}"


def _places(path: str, relative_to: RelativeTo) -> list[str]:
    path = with_slashes(path)
    near = path if relative_to is None else os.path.join(os.path.dirname(os.fspath(relative_to)), path)
    return [path] if near == path else [path, near]


def _near(path: str, relative_to: RelativeTo) -> str:
    """The file that was meant: of this name beside a prototxt from another machine, or of a name like it."""
    if relative_to is not None:
        beside = os.path.join(os.path.dirname(os.fspath(relative_to)), os.path.basename(with_slashes(path)))
        if os.path.isfile(beside):
            return f"; there is {beside}, which the text, or --set, can name"
    for folder, name in map(os.path.split, _places(path, relative_to)):
        names = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
        meant = did_you_mean(name, names)
        if meant:
            return meant
    return ""
