"""Writing files so that nobody ever sees half of one.

The bytes go to a temporary file in the same folder, are flushed to the disk, and the file is then renamed
over the old one (POSIX rename is atomic). Whatever fails before that leaves the old file as it was.

Files that a command reads can be protected for as long as it runs; writing over one is refused.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, ParamSpec, TypeVar

from caffecompat.errors import CaffeCompatError

__all__ = [
    "PROCESS",
    "ProtectedError",
    "WriteError",
    "atomic_path",
    "atomic_together",
    "atomic_write",
    "is_same_file",
    "make_folder",
    "protected_files",
    "protects",
    "refuse_protected",
]

# In the names of this process's temporary files, so that others can tell whether their writer still runs.
PROCESS = secrets.token_hex(4)

_protected: list[str] = []

P = ParamSpec("P")
Result = TypeVar("Result")


class WriteError(CaffeCompatError):
    """A file could not be written; what was there before is untouched."""

    status = 1  # nothing that was read is at fault


class ProtectedError(WriteError):
    """The file is one of those that are read."""

    status = 2


@contextlib.contextmanager
def protected_files(paths: Iterable[str]) -> Iterator[None]:
    """While the context lasts, none of these files is written over."""
    before = list(_protected)
    _protected.extend(paths)
    try:
        yield
    finally:
        _protected[:] = before


def protects(*names: str) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """A decorator of functions that read files and write others: what these arguments name is not written over.

    Args:
        names: of arguments that are paths or lists of them; where one is something else, it names no file.
    """

    def decorate(function: Callable[P, Result]) -> Callable[P, Result]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def protecting(*args: P.args, **kwargs: P.kwargs) -> Result:
            given = signature.bind(*args, **kwargs).arguments
            values = [given.get(name) for name in names]
            each = [part for value in values for part in (value if isinstance(value, (list, tuple)) else [value])]
            with protected_files([os.fspath(part) for part in each if isinstance(part, (str, os.PathLike))]):
                return function(*args, **kwargs)

        return protecting

    return decorate


def refuse_protected(path: str | os.PathLike[str]) -> None:
    """Check a file that is to be written.

    Raises:
        ProtectedError: it is one of those that are read.
    """
    if _protected and os.path.exists(path):
        for source in _protected:
            if is_same_file(path, source):
                raise ProtectedError(
                    f"{os.fspath(path)} is not written over: it is read as {source}; name another output"
                )


def is_same_file(path: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether both exist and are one file or folder, by whatever name or link."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder, if there is none, and those above it.

    Raises:
        WriteError: it cannot be made.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except FileExistsError:
        raise WriteError(f"{os.fspath(path)}: expected a folder, this is a file; choose another name") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise WriteError(f"the folder {os.fspath(path)!r} cannot be made: {reason}") from None


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to write to, which becomes `path` when the block ends without an exception.

    Raises:
        WriteError: for any OSError in the block or at its end (disk full, no permission, no such folder).
    """
    with atomic_path(path) as temporary:
        try:
            with open(temporary, "wb") as file:
                yield file
        except BrokenPipeError:
            pass  # `path` is a pipe whose reader has what it wanted
        except OSError as problem:
            raise _explain(os.fspath(path), problem) from problem


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """The name of a temporary file that becomes `path` when the block ends without an exception.

    For libraries that open files by name (HDF5). A link is followed; a target that is no regular file
    (``/dev/stdout``, a pipe) is written to directly.

    Raises:
        WriteError: the file cannot be made, flushed or renamed, or is one that is read.
    """
    if "\0" in os.fspath(path):
        raise WriteError(f"{os.fspath(path)!r}: no file can have a NUL in its name")
    refuse_protected(path)
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        yield os.fspath(path)  # as given: what /dev/stdout links to may have no name
        return
    try:
        target = os.path.realpath(path)  # fails where the current folder is gone
        folder, name = os.path.split(target)
        temporary = os.path.join(folder, f".{name[:200]}.{PROCESS}{secrets.token_hex(4)}.tmp")
        _create_like(temporary, target)
        try:
            yield temporary
            _flush(temporary)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _flush_folder(folder)
    except OSError as problem:
        raise _explain(os.fspath(path), problem) from problem


@contextlib.contextmanager
def atomic_together(*paths: str | os.PathLike[str]) -> Iterator[list[str]]:
    """Names of temporary files that become `paths`, all of them or none, when the block ends without an exception.

    For files that mean something together only (a net's text and its weights). Each temporary file has the name of
    its path, in a folder of its own next to it; one that the block does not make leaves its path alone. The last path
    is taken away before the others change and comes last, so that whoever sees it sees what belongs to it, even where
    the process is killed in between.

    Raises:
        WriteError: any of them cannot be made, flushed or renamed; then all paths are as before.
    """
    given = [os.fspath(path) for path in paths]
    with contextlib.ExitStack() as stack:
        made = []
        for path in given:
            refuse_protected(path)
            made.append(_temporary_of(path, stack))
        try:
            yield made
        except WriteError as problem:
            raise type(problem)(_in_users_words(str(problem), given, made)) from problem
        new = [(path, made) for path, made in zip(given, made, strict=True) if path != made and os.path.exists(made)]
        for path, temporary in new:
            try:
                _permit_like(temporary, path)
                _flush(temporary)
            except OSError as problem:
                raise _explain(path, problem) from problem
        _replace_all(new)


def _in_users_words(text: str, given: Sequence[str], made: Sequence[str]) -> str:
    """What could not be written, with the paths that were asked for in the place of temporary ones."""
    for path, temporary in zip(given, made, strict=True):
        text = text.replace(temporary, path)
        if path != temporary:
            text = text.replace(os.path.dirname(temporary), os.path.dirname(path) or ".")
    return text


def _temporary_of(path: str, stack: contextlib.ExitStack) -> str:
    """A file of the same name in a folder of its own next to it; the path itself where that is no regular file."""
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        return path
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        folder, name = os.path.split(os.path.realpath(path))
        own = tempfile.TemporaryDirectory(prefix=f".{name[:200]}.{PROCESS}", suffix=".tmp", dir=folder)
    except OSError as problem:
        raise _explain(path, problem) from problem
    return os.path.join(stack.enter_context(own), os.path.basename(path))


def _replace_all(pairs: Sequence[tuple[str, str]]) -> None:
    """Rename each temporary file over its path, the last of which is gone meanwhile; where one fails, all go back."""
    undone: list[tuple[str, str]] = []  # where each old file lies ("" if there was none), and its place
    steps = [(*pair, False) for pair in pairs[-1:]] + [(*pair, True) for pair in pairs]
    for path, temporary, comes in steps:
        try:
            target, old = os.path.realpath(path), ""
            if os.path.exists(target):
                old = f"{temporary}.old"
                _keep(target, old)
            undone.append((old, target))
            if comes:
                os.replace(temporary, target)
            elif os.path.exists(target):
                os.unlink(target)
        except OSError as problem:
            for before, place in reversed(undone):
                with contextlib.suppress(OSError):
                    os.replace(before, place) if before else os.unlink(place)
            raise _explain(path, problem) from problem
    for folder in {os.path.dirname(os.path.realpath(path)) for path, _ in pairs}:
        _flush_folder(folder)


def _keep(path: str, other: str) -> None:
    """Give a file a second name; where the file system has no links, another one."""
    try:
        os.link(path, other)
    except OSError:
        os.rename(path, other)


def _permit_like(temporary: str, target: str) -> None:
    with contextlib.suppress(OSError):
        os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))


def _create_like(temporary: str, target: str) -> None:
    """An empty new file with the permissions of the one it will replace, or those that the umask gives."""
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, stat.S_IMODE(os.stat(target).st_mode))
    finally:
        os.close(descriptor)


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: str) -> None:
    """Make the rename itself durable, on file systems that know how."""
    with contextlib.suppress(OSError):
        _flush(folder)


def _explain(path: str, problem: OSError) -> WriteError:
    folder = os.path.dirname(path) or "."
    advice = {
        errno.ENOSPC: f"free space there ('df -h {folder}') or write elsewhere",
        errno.EDQUOT: "your quota is used up; free space or write elsewhere",
        errno.EFBIG: "the file would be larger than allowed there ('ulimit -f', or the file system's limit)",
        errno.EACCES: f"get write access to {folder!r} or write elsewhere",
        errno.EPERM: f"get write access to {folder!r} or write elsewhere",
        errno.EROFS: "the file system is read-only; write elsewhere",
        errno.ENOENT: f"make the folder first (mkdir -p {folder})",
        errno.EISDIR: "that is a folder; name a file",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
        errno.ENAMETOOLONG: "shorten the name",
    }.get(problem.errno or 0, "check the disk")
    kept = " (the old file is unchanged)" if os.path.isfile(path) else ""
    return WriteError(f"{path}: cannot be written: {problem.strerror or problem}{kept}; {advice}")
