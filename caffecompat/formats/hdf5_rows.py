"""HDF5 files that grow by rows, as HDF5Output writes and HDF5Data reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from caffecompat.errors import CaffeCompatError

__all__ = ["count_rows", "write_rows"]


def count_rows(path: str | os.PathLike[str], names: Sequence[str]) -> int:
    """How many rows all these datasets have; 0 where there is no such file."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return min(len(file[name]) for name in names)
    except (OSError, KeyError, TypeError):
        return 0


def write_rows(path: str | os.PathLike[str], datasets: Mapping[str, np.ndarray], *, after: int) -> None:
    """Write arrays of shape (rows, ...) as datasets.

    Args:
        after: put the rows after that many of the datasets of a file written so before; 0 makes the file again.

    Raises:
        CaffeCompatError: the file cannot be written, or its rows have another shape.
    """
    import h5py

    try:
        with h5py.File(path, "a" if after else "w") as file:
            for name, rows in datasets.items():
                if not after:
                    file.create_dataset(name, data=rows, maxshape=(None, *rows.shape[1:]))
                    continue
                kept = file[name]
                if kept.shape[1:] != rows.shape[1:]:
                    raise CaffeCompatError(
                        f"{path}: rows of shape {rows.shape[1:]} cannot follow rows of shape {kept.shape[1:]} "
                        f"in dataset {name!r}"
                    )
                kept.resize(after + len(rows), axis=0)
                kept[after:] = rows
    except (OSError, KeyError) as error:
        raise CaffeCompatError(f"cannot write the HDF5 file {path}: {error}") from None
