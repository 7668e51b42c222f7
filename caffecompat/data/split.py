"""One data set into two, by chance."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence

from caffecompat.data.build import BuildError, BuildReport, Plan, write_database
from caffecompat.data.dataset import CLASS_FILES, class_file, dataset_parts, open_parts
from caffecompat.data.inspection import verify_keys
from caffecompat.formats.database import DatabaseError, DatabaseReader

__all__ = ["split_database"]


def split_database(
    source: str | os.PathLike[str],
    train: str | os.PathLike[str],
    val: str | os.PathLike[str],
    *,
    fraction: float = 0.1,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
) -> tuple[BuildReport, BuildReport]:
    """Copy the records of a database into two, drawn by chance.

    Records keep their keys, bytes and order; both databases of a pair are split alike.

    Args:
        source: a database, or the folder of an image and a label database.
        train: folder to make, of the records that are not drawn.
        val: folder to make, of the records that are.
        fraction: of the records goes to `val`, above 0 and below 1.
        seed: which ones.
        on_progress: called with how many records are copied.

    Returns:
        What was written to `train`, and to `val`.

    Raises:
        BuildError: the fraction leaves one side empty, or an output exists.
        DatabaseError: there is no such database, or the two of a pair do not belong together.

    >>> import caffecompat
    >>> report = caffecompat.build_database("list.txt", "all_lmdb")
    >>> train, val = caffecompat.split_database("all_lmdb", "train_lmdb", "val_lmdb", fraction=0.25)
    >>> (train.written, val.written)
    (3, 1)
    """
    if not 0 < fraction < 1:
        raise BuildError(f"fraction {fraction:g}: expected a number above 0 and below 1")
    readers = open_parts(source)
    try:
        wrong = verify_keys(readers)
        if wrong:
            raise DatabaseError(f"the databases of {os.fspath(source)} do not match: {wrong[0]}")
        keys = list(readers[0].keys())
        count = round(len(keys) * fraction)
        if not 0 < count < len(keys):
            raise BuildError(f"a fraction of {fraction:g} of {len(keys)} records puts {count} into one part")
        for out in (train, val):
            if os.path.lexists(out):
                raise BuildError(f"{os.fspath(out)} exists already; remove it or choose another name")
        chosen = set(random.Random(seed).sample(range(len(keys)), count))
        kept = [key for index, key in enumerate(keys) if index not in chosen]
        taken = [keys[index] for index in sorted(chosen)]
        one = write_database(train, _copy_plan(source, readers, kept), on_progress=on_progress)
        other = write_database(
            val, _copy_plan(source, readers, taken), on_progress=lambda n: on_progress(len(kept) + n)
        )
        return one, other
    finally:
        for reader in readers:
            reader.close()


def _copy_plan(source: str | os.PathLike[str], readers: Sequence[DatabaseReader], keys: Sequence[bytes]) -> Plan:
    def copy(index: int) -> Sequence[bytes]:
        values = [reader.get(keys[index]) for reader in readers]
        return [value for value in values if value is not None]

    extras = {file: found.read_text() for file in CLASS_FILES if (found := class_file(source, file))}
    identity = repr(("copy", os.path.abspath(source), [len(reader) for reader in readers]))
    return Plan(keys, copy, identity, parts=dataset_parts(source), backend=readers[0].backend, extras=extras)
