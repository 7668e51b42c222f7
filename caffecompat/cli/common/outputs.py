"""No verb writes over what it reads: flags that name what is written say so, and all else that is a file is an input.

Three checks. Before a verb runs: an output that is the same file as an input (by whatever spelling, link or hard
link), or whose ending is that of another kind of file, is a wrong command. While it runs: the input files are
protected, so that names which are made on the way (OUT_DIR/deploy.prototxt) cannot hit them either. And verbs that
read folders and write pictures ask :func:`check_folder`.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from caffecompat.cli.common.flags import UsageError, split_commas

__all__ = ["Output", "check_folder", "make_folder_above", "output", "protected_inputs"]

# Endings by what a file holds; none of another kind's is taken.
_KINDS: dict[str, tuple[str, ...]] = {
    "a prototxt": (".prototxt", ".pbtxt"),
    "a file of weights": (".caffemodel", ".h5", ".hdf5", ".safetensors", ".npz"),
    "an ONNX file": (".onnx",),
    "Python source": (".py",),
    "a mean picture": (".binaryproto",),
    "a NumPy array": (".npy",),
    "a page": (".html", ".htm"),
    "a table": (".csv",),
    "a picture": (".png", ".svg", ".pdf", ".dot", ".jpg", ".jpeg"),
    "a solver state": (".solverstate",),
    "the .resume file of a solver state": (".resume",),
}
_DATABASE_FILE = re.compile(r"(data|lock)\.mdb|CURRENT|LOCK|LOG|MANIFEST-\d+|\d+\.(ldb|sst|log)")


class Output(str):
    """A path that a flag names to be written.

    Attributes:
        in_place: whether it may be the file that is read.
    """

    in_place: bool = False


def output(kind: str = "", *, in_place: bool = False) -> Callable[[str], Output]:
    """The argparse `type` of a flag that names what is written.

    Args:
        kind: what the file will hold, one of the kinds above; a name that ends as another kind does is an error.
        in_place: the verb reads the whole file before it writes, and users do name one file twice.
    """
    known = _KINDS.get(kind, ())
    foreign = {end: other for other, ends in _KINDS.items() for end in ends if kind and end not in known}

    def path(text: str) -> Output:
        end = next((end for end in foreign if text.lower().endswith(end)), None)
        if end:
            raise argparse.ArgumentTypeError(
                f"{text!r} has the ending of {foreign[end]}, but {kind} would be written to it; "
                f"expected {', '.join(known)}"
            )
        result = Output(text)
        result.in_place = in_place
        return result

    return path


def protected_inputs(verb: str, args: argparse.Namespace) -> AbstractContextManager[None]:
    """Check the outputs among a verb's arguments; while the context lasts, no file that they name is written over.

    Raises:
        UsageError: an output is the same file as an input.
    """
    values = list(_values(vars(args).values()))
    outputs = [value for value in values if isinstance(value, Output)]
    if not outputs:  # train and its like write by rules of their own
        return nullcontext()
    from caffecompat.formats.atomic import is_same_file, protected_files  # loads NumPy, which --help does without

    inputs = {part: None for value in values if not isinstance(value, Output) for part in (value, *split_commas(value))}
    files = [path for given in inputs for path in _files_of(given)]
    _refuse_same(verb, [path for path in outputs if not path.in_place], files)
    replaced = [path for path in outputs if path.in_place]
    return protected_files([path for path in files if not any(is_same_file(path, other) for other in replaced)])


def make_folder_above(path: str) -> None:
    """Make the folder that `path` will lie in, if there is none.

    Raises:
        WriteError: it cannot be made.
    """
    from caffecompat.formats.atomic import make_folder

    make_folder(os.path.dirname(path.rstrip("/")) or ".")


def check_folder(verb: str, out: str, given: Iterable[str], targets: Iterable[tuple[str, str]]) -> None:
    """Refuse an output folder in which a verb would write over its pictures, or take its own for input when run again.

    Args:
        given: what the user named: files and folders.
        targets: (input file, file to be written for it).

    Raises:
        UsageError: `out` is, lies in or contains a folder that was given, a file to be written is an input, or it
            exists next to the inputs and may be anybody's.
    """
    from caffecompat.formats.atomic import is_same_file

    for folder in filter(os.path.isdir, given):
        relation = "is" if is_same_file(out, folder) else ""
        relation = relation or ("lies in" if _contains(folder, out) else "contains" if _contains(out, folder) else "")
        if relation:
            raise UsageError(
                f"{verb}: --out {out} {relation} the folder that is read, {folder}; its pictures would be written "
                "over, or the results read as pictures the next time; name another folder"
            )
    pairs = list(targets)
    existing = [(source, target) for source, target in pairs if os.path.lexists(target)]
    _refuse_same(verb, [target for _, target in existing], [source for source, _ in pairs])
    for source, target in existing:
        if is_same_file(os.path.dirname(source) or ".", out):
            raise UsageError(
                f"{verb}: {target} is there already, in the folder that {source} is read from; it may be a picture of "
                "yours: move it away, or name another folder with --out"
            )


def _refuse_same(verb: str, outputs: Sequence[str], inputs: Sequence[str]) -> None:
    if not any(map(os.path.exists, outputs)):
        return
    numbers = {_number(path): path for path in reversed(inputs) if os.path.exists(path)}
    for path in filter(os.path.exists, outputs):
        source = numbers.get(_number(path))
        if source is None or not os.path.isfile(path):
            continue
        same = "" if source == path else f", the same file as {source}"
        raise UsageError(f"{verb}: {path} is read{same}; the result would be written over it: name another file")


def _files_of(given: str) -> list[str]:
    """The file that an argument names, or those of the databases (LMDB, LevelDB; pairs, shards, a pattern)."""
    if os.path.isfile(given):
        return [given]
    folders = _database_folders(given)
    folders += [os.path.join(folder, part) for folder in folders for part in ("image", "label")]
    folders = [inner for folder in folders for inner in (folder, *_database_folders(folder))]
    names = [(folder, name) for folder in filter(os.path.isdir, dict.fromkeys(folders)) for name in os.listdir(folder)]
    return [os.path.join(folder, name) for folder, name in names if _DATABASE_FILE.fullmatch(name)]


def _database_folders(given: str) -> list[str]:
    """The folders of databases that an argument may mean; [] where it means something else."""
    from caffecompat.formats.database import DatabaseError
    from caffecompat.formats.shards import database_folders

    try:
        return database_folders(given)
    except (DatabaseError, ValueError):  # a number or a name with a comma in it, or with a NUL
        return []


def _number(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _contains(folder: str, path: str) -> bool:
    """Whether `path`, which need not exist, lies below `folder`."""
    from caffecompat.formats.atomic import is_same_file

    return any(is_same_file(folder, parent) for parent in Path(os.path.realpath(path)).parents)


def _values(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _values(value)
