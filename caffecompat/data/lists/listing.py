"""What all lists of data sets have in common: how paths are written, what was left out and why, whole files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from caffecompat import glog
from caffecompat.data.parallel import ordered_map
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.formats.atomic import (
    WriteError,
    atomic_together,
    atomic_write,
    is_same_file,
    make_folder,
    protected_files,
)
from caffecompat.wording import few

__all__ = ["LayoutError", "ListReport", "Listing", "OnProgress", "OnSkip", "Pair", "Skipped", "is_folder", "why_empty"]

OnProgress = Callable[[int, int], None]
OnSkip = Callable[[str], None]

_UNWRITABLE = ("\n", "\r", '"')  # letters that a line of a list cannot hold in a path
_SHOWN = 12


class LayoutError(CaffeCompatError):
    """A folder that is not laid out as the data set is."""

    @classmethod
    def of(cls, root: str, data_set: str, *expected: str) -> LayoutError:
        """The error for a folder: what was expected in it, and what there is."""
        if not os.path.isdir(root):
            what = "it is a file" if os.path.exists(root) else "there is no such folder"
            return cls(f"{root}: expected the folder of {data_set}; {what}")
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in os.scandir(root))
        layouts = "\n  or ".join(expected)
        found = few(names, _SHOWN) or "nothing: the folder is empty"
        return cls(f"{root} is not laid out as {data_set}:\n  expected {layouts}\n  found {found}")


class Skipped(Exception):
    """One file that cannot be listed; the message says which and why."""


class Pair(NamedTuple):
    """A picture with its label file.

    Attributes:
        list: the name of the list that the two belong to.
        picture: the picture's file.
        label: the label's file, as the list names it; made where it is absent.
        source: the data set's own file, of which `convert` makes the content of `label`. May raise `Skipped`.
        line: the line that names the picture, as "train.txt:12: ", for messages.
    """

    list: str
    picture: Path
    label: Path
    source: Path
    convert: Callable[[Path], bytes]
    line: str = ""


@dataclass
class ListReport:
    """What was written.

    Attributes:
        lists: each list with the number of its lines.
        root_folder: what their paths start from, with a slash at its end, as `root_folder` of image_data_param and the
            ROOTFOLDER of convert_imageset take it; "" where paths are absolute.
        files: other files written: names of classes, a label map.
        made: label pictures or annotations that were made; those that were there are kept.
        skipped: a line for each file left out, with the reason.
    """

    lists: dict[str, int] = field(default_factory=dict)
    root_folder: str = ""
    files: list[str] = field(default_factory=list)
    made: int = 0
    skipped: list[str] = field(default_factory=list)


class Listing:
    """Lists of one data set in the making.

    Args:
        root: the data set's folder.
        out: the folder that lists are written to, made if absent.
        labels: a folder for label pictures that have to be made; None puts them next to the data set's own.
        relative: whether paths start from the root folder; else they are absolute.
        force: whether lists that exist are written over.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        out: str | os.PathLike[str],
        *,
        labels: str | os.PathLike[str] | None = None,
        relative: bool = True,
        force: bool = False,
        on_progress: OnProgress = lambda done, total: None,
        on_skip: OnSkip = lambda why: None,
    ) -> None:
        self.root = os.fspath(root)
        self._out = os.fspath(out)
        self._labels = None if labels is None else os.fspath(labels)
        self._relative, self._force = relative, force
        self._on_progress, self._on_skip = on_progress, on_skip
        self._lists: dict[str, list[tuple[str, str | int | None]]] = {}
        self._folders: dict[str, dict[str, int]] = {}
        self._planned: list[str] = []  # lists that may come of it
        self._read: list[str] = []
        self.report = ListReport()

    def refuse_existing(self, lists: Iterable[str], *others: str) -> None:
        """Check, before anything is done, that none of these files of the output folder is there.

        With `force` they may be there; a list of them that has no lines this time is removed when the rest is written.

        Raises:
            WriteError: one is, and may be the user's.
        """
        self._planned = list(dict.fromkeys(lists))
        paths = [os.path.join(self._out, name) for name in (*self._planned, *others)]
        there = [path for path in paths if os.path.lexists(path)]
        if there and not self._force:
            raise WriteError(f"{', '.join(there)}: there already; choose another folder with --out, or say --force")

    def names(self, path: Path) -> list[tuple[str, str]]:
        """The first word of each line of a data set's own list, and the line's place for messages, "train.txt:12: ".

        The file is not written over, whatever `force` says.

        Raises:
            CaffeCompatError: it cannot be read.
        """
        self._read.append(str(path))
        words = [line.split() for line in read_text(path, "the list").split("\n")]
        return [(word[0], f"{path}:{number}: ") for number, word in enumerate(words, 1) if word]

    def skip(self, why: str) -> None:
        """Report a file that is left out."""
        self.report.skipped.append(why)
        self._on_skip(why)

    def require(self, path: Path, line: str = "") -> None:
        """Check that a file is there and not empty; folders are listed once, not asked file by file.

        Args:
            line: which names the file, as "train.txt:12: ", for the message.

        Raises:
            Skipped: it is not.
        """
        size = self.files(path.parent).get(path.name)
        if size is None:
            raise Skipped(f"{line}{path} does not exist")
        if not size:
            raise Skipped(f"{line}{path} {why_empty(path)}")

    def has(self, path: Path) -> bool:
        """Whether a file is there and not empty."""
        return bool(self.files(path.parent).get(path.name))

    def files(self, folder: Path) -> dict[str, int]:
        """The files of a folder with their sizes in bytes, in the order of their names; {} if there is none."""
        key = str(folder)
        if key not in self._folders:
            found = {}
            if folder.is_dir():
                with os.scandir(folder) as entries:
                    found = {entry.name: _size(entry) for entry in entries if not is_folder(entry)}
            self._folders[key] = dict(sorted(found.items()))
        return self._folders[key]

    def made_path(self, path: Path) -> Path:
        """Where a label picture that has to be made goes: `path` in the data set, or its like below `labels`."""
        return path if self._labels is None else Path(self._labels, os.path.relpath(path, self.root))

    def add_picture(self, name: str, picture: Path, label: int | Path | None = None, line: str = "") -> None:
        """Add a line to a list, if its files are there; else report them as left out."""
        try:
            for path in (picture, label):
                if isinstance(path, Path):
                    self.require(path, line)
            self.add(name, picture, label)
        except Skipped as why:
            self.skip(str(why))

    def add_pairs(self, pairs: Sequence[Pair]) -> None:
        """Add pictures with their label files, after those that are not there yet were made.

        Raises:
            WriteError: one cannot be written.
        """
        good = []
        for pair in pairs:
            try:
                self.require(pair.picture, pair.line)
                if not self.has(pair.label):
                    self.require(pair.source, pair.line)
            except Skipped as why:
                self.skip(str(why))
            else:
                good.append(pair)
        failed = self.make({pair.label: partial(pair.convert, pair.source) for pair in good})
        for pair in good:
            try:
                if pair.label in failed:
                    raise Skipped(f"{pair.line}{failed[pair.label]}")
                self.add(pair.list, pair.picture, pair.label)
            except Skipped as why:
                self.skip(str(why))

    def make(self, jobs: Mapping[Path, Callable[[], bytes]]) -> dict[Path, str]:
        """Write files that are not there yet, each whole or not at all, on all cores.

        Args:
            jobs: files, and what computes their content (which may raise `Skipped`).

        Returns:
            Those that could not be made, with the reason.

        Raises:
            WriteError: one cannot be written.
        """
        todo = [path for path in jobs if not self.has(path)]
        try:
            return self._make(todo, jobs)
        except WriteError as problem:
            elsewhere = "" if self._labels else "; --labels DIR puts what is made into another folder"
            raise WriteError(f"{problem}{elsewhere}") from None

    def _make(self, todo: Sequence[Path], jobs: Mapping[Path, Callable[[], bytes]]) -> dict[Path, str]:
        for folder in {path.parent for path in todo}:
            make_folder(folder)
            self._folders.pop(str(folder), None)
        failed: dict[Path, str] = {}

        def write(path: Path) -> str:
            try:
                data = jobs[path]()
            except Skipped as why:
                return str(why)
            with atomic_write(path) as file:
                file.write(data)
            return ""

        for done, (path, why) in enumerate(zip(todo, ordered_map(write, todo), strict=True), 1):
            if why:
                failed[path] = why
            self.report.made += not why
            self.progress(done, len(todo))
        return failed

    def progress(self, done: int, total: int) -> None:
        """Report how many files of a step are done."""
        self._on_progress(done, total)

    def add(self, name: str, image: Path | str, label: Path | str | int | None = None) -> None:
        """Add a line to a list: a picture and its class, its label file, or nothing.

        Raises:
            Skipped: a name has letters that no list can hold.
        """
        for path in (image, label):
            if isinstance(path, (str, Path)) and any(letter in str(path) for letter in _UNWRITABLE):
                raise Skipped(f"{str(path)!r}: a list cannot hold a name with a quote or a line end")
        self._lists.setdefault(name, []).append((str(image), str(label) if isinstance(label, Path) else label))

    def write(self, extras: dict[str, str] | None = None) -> ListReport:
        """Write the lists, and other texts of the output folder by their names: all of them or none.

        Raises:
            CaffeCompatError: there is nothing to list.
            WriteError: they cannot be written.
        """
        if not self._lists:
            raise CaffeCompatError(f"{self.root}: no picture can be listed{self._reasons()}")
        make_folder(self._out)
        base, self.report.root_folder = self._base()
        lines = _Lines(base)
        texts = {name: "".join(map(lines.of, entries)) for name, entries in self._lists.items()} | (extras or {})
        paths = [os.path.join(self._out, name) for name in texts]
        with protected_files(self._read), atomic_together(*paths) as temporaries:
            for temporary, text in zip(temporaries, texts.values(), strict=True):
                try:
                    Path(temporary).write_bytes(os.fsencode(text))
                except OSError as error:
                    raise WriteError(f"{temporary}: cannot be written: {error.strerror}") from None
        for name in self._planned:
            if name not in texts:
                self._remove_old(os.path.join(self._out, name))
        self.report.lists = {os.path.join(self._out, name): len(entries) for name, entries in self._lists.items()}
        self.report.files = [os.path.join(self._out, name) for name in extras or {}]
        return self.report

    def _remove_old(self, path: str) -> None:
        """Remove an earlier list of a split that has no pictures now, which would pass for this one's.

        Raises:
            WriteError: it cannot be removed, or is read as a list of the data set.
        """
        if not os.path.isfile(path):
            return
        if any(is_same_file(path, other) for other in self._read):
            raise WriteError(f"{path} is not removed: it is read as an input; choose another folder with --out")
        try:
            os.unlink(path)
        except OSError as error:
            raise WriteError(f"{path}: the earlier list cannot be removed: {error.strerror}") from None
        glog.info(f"removed {path}: no picture of this split can be listed now", "list.py:1")

    def _reasons(self) -> str:
        """Why nothing is listed, for a message: the first of the files left out, or that there are none."""
        if not self.report.skipped:
            where = (
                f"{few(self._read)} {'name' if len(self._read) > 1 else 'names'} none" if self._read else "it has none"
            )
            return f": {where}"
        more = len(self.report.skipped) - _SHOWN
        rest = [f"... and {more} more"] if more > 0 else []
        return ":" + "".join(f"\n  {why}" for why in (*self.report.skipped[:_SHOWN], *rest))

    def _base(self) -> tuple[str, str]:
        """The folder that paths are relative to (absolute, "" for none), and as it is shown."""
        if not self._relative:
            return "", ""
        root = os.path.abspath(self.root)
        paths = {os.path.dirname(part) for entries in self._lists.values() for entry in entries for part in entry
                 if isinstance(part, str)}  # fmt: skip
        base = os.path.commonpath([root, *map(os.path.abspath, paths)])
        return base, os.path.join(self.root if base == root else base, "")


class _Lines:
    """Lines of lists, with paths from a base folder on; absolute without."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._folders: dict[str, str] = {}

    def of(self, entry: tuple[str, str | int | None]) -> str:
        image, label = entry
        if isinstance(label, int):
            return f"{self._path(image)} {label}\n"
        if label is None:
            return f"{_quoted(self._path(image))}\n"
        return f"{_quoted(self._path(image))} {_quoted(self._path(label))}\n"

    def _path(self, path: str) -> str:
        folder, name = os.path.split(path)
        if folder not in self._folders:
            shown = os.path.abspath(folder)
            if self._base:
                shown = os.path.relpath(shown, self._base)
            self._folders[folder] = "" if shown == "." else Path(shown, "_").as_posix()[:-1]
        return self._folders[folder] + name


def _quoted(path: str) -> str:
    """A path as a list of pairs has it, whose columns are separated by blanks."""
    return f'"{path}"' if len(path.split()) > 1 else path


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; a link that leads in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def why_empty(path: str | os.PathLike[str]) -> str:
    """What is wrong with a file of no bytes, after its name: `is empty`, or that it is a broken link."""
    return "is empty" if os.path.exists(path) else "is a link that leads nowhere"


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a link that leads nowhere
        return 0
