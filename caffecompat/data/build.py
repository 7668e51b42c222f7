"""Building databases: many threads encode, one writes, and an interrupted build goes on where it stopped.

While a build runs, its output lies in ``<out>.partial``::

    journal.json    the recipe's fingerprint, how many records are written, which could not be made
    lock            held while a build runs, so that two cannot run at once
    out/            the database, or the folder of databases, that becomes <out> at the very end by one rename

So whatever ends a build (Ctrl-C, kill -9, a full disk, the power), a folder named <out> is a whole database.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from caffecompat.data.parallel import ordered_map
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.database import DatabaseWriteError, DatabaseWriter, key_text, open_database
from caffecompat.formats.picture import PictureError
from caffecompat.formats.shards import shard_name

__all__ = ["BadRecord", "BuildError", "BuildReport", "Plan", "commit", "staging", "write_database"]

_BATCH_RECORDS = 1000
_BATCH_BYTES = 64 << 20


class BadRecord(Exception):
    """Raised by a plan's `encode`: this one record cannot be made; the message says why."""


_Encoded = tuple[int, Sequence[bytes] | BadRecord]


class BuildError(CaffeCompatError):
    """A build that cannot start or cannot be finished."""


@dataclass
class Plan:
    """What a build writes.

    Attributes:
        keys: one a record, in the order of writing.
        encode: index -> the record's values, one for each of `parts`; called from several threads. Raises
            BadRecord when this record cannot be made.
        fingerprint: whatever the result depends on (lists, flags); a partial build is only continued when equal.
        parts: names of the databases inside <out>; ("",) makes <out> itself the database.
        backend: "lmdb" or "leveldb".
        extras: text files to put into the folder: name -> content.
        shards: databases that the records of each part are spread over, a run of them in each;
            `caffecompat.formats.shards` reads them as one.
        layer_type: the type of the layers that read the records.
    """

    keys: Sequence[bytes]
    encode: Callable[[int], Sequence[bytes]]
    fingerprint: str
    parts: tuple[str, ...] = ("",)
    backend: str = "lmdb"
    extras: dict[str, str] = field(default_factory=dict)
    shards: int = 1
    layer_type: str = "Data"

    def shard_of(self, index: int) -> int:
        """Which shard a record belongs to."""
        return index * self.shards // len(self.keys)

    def folder(self, part: str, shard: int) -> str:
        """The folder of a part's shard inside <out>."""
        return part if self.shards == 1 else os.path.join(part, shard_name(shard, self.shards))


@dataclass
class BuildReport:
    """What a build did: records in the database, those left out (index -> why), and how many were there before."""

    written: int
    bad: dict[int, str]
    resumed_at: int
    seconds: float


def write_database(
    out: str | os.PathLike[str],
    plan: Plan,
    *,
    skip_bad: bool = False,
    threads: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
    on_bad: Callable[[int, str], None] = lambda index, why: None,
    on_start: Callable[[int], None] = lambda done: None,
) -> BuildReport:
    """Make the database `out`, or finish the one an earlier call with the same plan began.

    Args:
        skip_bad: leave out records that cannot be made instead of failing at the end.
        threads: how many encode; 0 is one a core.
        on_progress: called after each batch with how many records are dealt with (by the calling thread, as the next
            two).
        on_bad: called with each record that cannot be made.
        on_start: called once with how many records an earlier build had dealt with; 0 when this one starts over.

    Raises:
        BuildError: `out` exists, a build of it is running, there are more shards than records, or records could not be
            made and `skip_bad` is not set: what could be made is kept, and the same call later makes only those again.
        DatabaseError: writing fails (disk full, no permission); the same call later continues.
    """
    name = os.fspath(out).rstrip("/")
    started = time.monotonic()
    if not 1 <= plan.shards <= max(1, len(plan.keys)):
        raise BuildError(f"{plan.shards} shards of {len(plan.keys)} records: expected 1 to {len(plan.keys)}")
    with staging(name) as folder:
        journal = _Journal.load(folder, plan)
        resumed_at = journal.done
        on_start(journal.done)
        try:
            _write_records(folder, plan, journal, threads, on_progress, on_bad)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"{name}.partial keeps {journal.done} records; the same command goes on") from None
        if journal.bad and (not skip_bad or len(journal.bad) == len(plan.keys)):
            raise BuildError(_describe_bad(journal.bad, plan, name))
        for extra, text in plan.extras.items():
            try:
                (folder / "out" / extra).write_text(text, encoding="utf-8")
            except OSError as error:
                raise DatabaseWriteError(f"cannot write {folder / 'out' / extra}: {error.strerror}") from None
        commit(folder, name)
    return BuildReport(len(plan.keys) - len(journal.bad), journal.bad, resumed_at, time.monotonic() - started)


def _write_records(
    folder: Path,
    plan: Plan,
    journal: _Journal,
    threads: int,
    on_progress: Callable[[int], None],
    on_bad: Callable[[int, str], None],
) -> None:
    def encode(index: int) -> _Encoded:
        try:
            return index, plan.encode(index)
        except BadRecord as bad:
            return index, bad
        except PictureError as problem:
            return index, BadRecord(f"record {key_text(plan.keys[index])!r}: {problem}")

    retried = sorted(journal.bad)
    indices = [*retried, *range(journal.done, len(plan.keys))]
    with (
        contextlib.closing(_Writers(folder, plan)) as writers,
        contextlib.closing(ordered_map(encode, indices, threads)) as encoded,
    ):
        taken = 0
        for batch in _batches(encoded):
            writers.put([(index, values) for index, values in batch if not isinstance(values, BadRecord)])
            for index, values in batch:
                if isinstance(values, BadRecord):
                    if journal.bad.get(index) != str(values):
                        on_bad(index, str(values))
                    journal.bad[index] = str(values)
                else:
                    journal.bad.pop(index, None)
            taken += len(batch)
            journal.done += max(0, min(len(batch), taken - len(retried)))
            journal.save()
            on_progress(journal.done)


class _Writers:
    """The databases of a build: those of one shard are open at a time, and all are there from the beginning."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder, self._plan = folder / "out", plan
        self._shard = -1
        self._open: list[DatabaseWriter] = []
        for shard in range(plan.shards - 1, -1, -1):
            self._turn_to(shard)

    def put(self, records: Sequence[tuple[int, Sequence[bytes]]]) -> None:
        """Write records, given by their numbers, in one transaction a database."""
        for shard, group in groupby(records, lambda record: self._plan.shard_of(record[0])):
            self._turn_to(shard)
            of_shard = list(group)
            for part, writer in enumerate(self._open):
                writer.put([(self._plan.keys[index], values[part]) for index, values in of_shard])

    def _turn_to(self, shard: int) -> None:
        if shard == self._shard:
            return
        self.close()
        for part in self._plan.parts:
            target = self._folder / self._plan.folder(part, shard)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DatabaseWriteError(f"cannot make {target.parent}: {error.strerror}") from None
            self._open.append(open_database(target, self._plan.backend, "a"))
        self._shard = shard

    def close(self) -> None:
        """Let go of what is open."""
        for writer in self._open:
            writer.close()
        self._open, self._shard = [], -1


def _batches(records: Iterator[_Encoded]) -> Iterator[list[_Encoded]]:
    """Group by a thousand (Caffe's transactions) or 64 MiB, whichever comes first."""
    batch: list[_Encoded] = []
    size = 0
    for record in records:
        batch.append(record)
        size += 0 if isinstance(record[1], BadRecord) else sum(map(len, record[1]))
        if len(batch) >= _BATCH_RECORDS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Journal:
    """How far a build has come; saved after each transaction, so it is never ahead of the database."""

    def __init__(self, path: Path, recipe: str) -> None:
        self._path = path
        self._recipe = recipe
        self.done = 0
        self.bad: dict[int, str] = {}

    @classmethod
    def load(cls, folder: Path, plan: Plan) -> _Journal:
        """The journal of an earlier build of the same plan, or a new one over an emptied folder."""
        recipe = (plan.fingerprint, plan.parts, plan.backend, len(plan.keys), plan.shards)
        digest = hashlib.sha256(repr(recipe).encode())
        for key in plan.keys:
            digest.update(key + b"\0")
        journal = cls(folder / "journal.json", digest.hexdigest())
        try:
            saved = json.loads(journal._path.read_text(encoding="utf-8"))
            if saved["recipe"] == journal._recipe:
                journal.done = int(saved["done"])
                journal.bad = {int(index): str(why) for index, why in saved["bad"].items()}
                return journal
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            pass  # none, or not readable: start over
        shutil.rmtree(folder / "out", ignore_errors=True)
        journal._path.unlink(missing_ok=True)
        return journal

    def save(self) -> None:
        text = json.dumps({"recipe": self._recipe, "done": self.done, "bad": self.bad})
        fresh = self._path.with_suffix(".new")
        try:
            with open(fresh, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self._path)
        except OSError as error:
            raise DatabaseWriteError(f"cannot write {self._path}: {error.strerror}") from None


@contextlib.contextmanager
def staging(name: str, *, emptied: bool = False) -> Iterator[Path]:
    """The folder ``<out>.partial``, locked; removed in the end, but kept where a journal tells how a build goes on.

    Args:
        name: <out>, without a slash at its end.
        emptied: throw away what an earlier build left.

    Raises:
        BuildError: <out> exists, is being made at this moment, or the folder cannot be made.
    """
    if os.path.lexists(name):
        raise BuildError(f"{name} exists already; remove it or choose another name")
    folder = Path(name + ".partial")
    try:
        folder.mkdir(exist_ok=True)
        lock = open(folder / "lock", "a")  # noqa: SIM115 -- held until the build ends
    except OSError as error:
        raise BuildError(f"cannot make {folder}: {error.strerror}") from None
    with lock:
        _lock(lock.fileno(), name)
        if emptied:
            shutil.rmtree(folder / "out", ignore_errors=True)
            (folder / "journal.json").unlink(missing_ok=True)
        try:
            yield folder
        except BaseException:
            if not (folder / "journal.json").exists():  # nothing was made yet: leave no trace
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _lock(descriptor: int, name: str) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two builds of one database at once stay the user's care
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BuildError(f"{name} is being built by another process at this moment") from None
    except OSError:
        return  # a file system without locks


def commit(folder: Path, name: str) -> None:
    """Make the finished database, ``out`` in its staging folder, appear under its name, all at once and for good."""
    for directory, _, files in os.walk(folder / "out"):
        for path in (directory, *(os.path.join(directory, file) for file in files)):
            _fsync(path)
    try:
        os.rename(folder / "out", name)
    except OSError as error:
        raise BuildError(f"cannot rename {folder / 'out'} to {name}: {error.strerror}") from None
    _fsync(os.path.dirname(os.path.abspath(name)))


def _fsync(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise DatabaseWriteError(f"cannot write {path}: {error.strerror}") from None
        # Some file systems refuse it for folders.


def _describe_bad(bad: dict[int, str], plan: Plan, name: str) -> str:
    lines = [why for _, why in sorted(bad.items())]
    shown = "\n".join(f"  {line}" for line in lines[:50])
    more = f"\n  ... and {len(lines) - 50} more" if len(lines) > 50 else ""
    if len(bad) == len(plan.keys):
        return f"none of the {len(bad)} records could be made:\n{shown}{more}"
    return (
        f"{len(bad)} of {len(plan.keys)} records could not be made:\n{shown}{more}\n"
        f"The others are kept in {name}.partial: fix these and run the same command again, "
        f"or leave them out with --skip-bad."
    )
