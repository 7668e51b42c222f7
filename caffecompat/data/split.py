"""One data set into two, by chance."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from caffecompat.data.build import BuildError, BuildReport, Plan, write_database
from caffecompat.data.dataset import CLASS_FILES, dataset_parts, open_parts
from caffecompat.data.inspection import verify_keys
from caffecompat.formats.database import DatabaseError, DatabaseReader

__all__ = ["split_dataset"]


def split_dataset(
    source: str | os.PathLike[str],
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    *,
    fraction: float,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
) -> tuple[BuildReport, BuildReport]:
    """Copy `fraction` of the records, drawn by `seed`, to `second` and the others to `first`.

    Records keep their keys, bytes and order; both databases of a pair are split alike.

    Raises:
        BuildError: the fraction leaves one side empty, or an output exists.
    """
    readers = open_parts(source)
    try:
        wrong = verify_keys(readers)
        if wrong:
            raise DatabaseError(f"the databases of {os.fspath(source)} do not belong together: {wrong[0]}")
        keys = list(readers[0].keys())
        count = round(len(keys) * fraction)
        if not 0 < count < len(keys):
            raise BuildError(f"a fraction of {fraction:g} of {len(keys)} records puts {count} into one part")
        for out in (first, second):
            if os.path.lexists(out):
                raise BuildError(f"{os.fspath(out)} exists already; remove it or choose another name")
        chosen = set(random.Random(seed).sample(range(len(keys)), count))
        kept = [key for index, key in enumerate(keys) if index not in chosen]
        taken = [keys[index] for index in sorted(chosen)]
        one = write_database(first, _copy_plan(source, readers, kept), on_progress=on_progress)
        other = write_database(
            second, _copy_plan(source, readers, taken), on_progress=lambda n: on_progress(len(kept) + n)
        )
        return one, other
    finally:
        for reader in readers:
            reader.close()


def _copy_plan(source: str | os.PathLike[str], readers: Sequence[DatabaseReader], keys: Sequence[bytes]) -> Plan:
    def copy(index: int) -> Sequence[bytes]:
        values = [reader.get(keys[index]) for reader in readers]
        return [value for value in values if value is not None]

    extras = {file: Path(source, file).read_text() for file in CLASS_FILES if Path(source, file).is_file()}
    identity = repr(("copy", os.path.abspath(source), [len(reader) for reader in readers]))
    return Plan(keys, copy, identity, parts=dataset_parts(source), backend=readers[0].backend, extras=extras)
