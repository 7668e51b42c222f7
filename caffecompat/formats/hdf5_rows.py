"""HDF5 files that grow by rows, as HDF5Output writes and HDF5Data reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from caffecompat.errors import CaffeCompatError

__all__ = ["write_rows"]


def write_rows(path: str | os.PathLike[str], datasets: Mapping[str, np.ndarray], *, append: bool) -> None:
    """Write arrays of shape (rows, ...) as datasets.

    Args:
        append: add the rows to the datasets of a file written so before; else the file is made anew.

    Raises:
        CaffeCompatError: the file cannot be written, or its rows have another shape.
    """
    import h5py

    try:
        with h5py.File(path, "a" if append else "w") as file:
            for name, rows in datasets.items():
                if not append:
                    file.create_dataset(name, data=rows, maxshape=(None, *rows.shape[1:]))
                    continue
                kept = file[name]
                if kept.shape[1:] != rows.shape[1:]:
                    raise CaffeCompatError(
                        f"{path}: rows of shape {rows.shape[1:]} cannot follow rows of shape {kept.shape[1:]} "
                        f"in dataset {name!r}"
                    )
                kept.resize(len(kept) + len(rows), axis=0)
                kept[len(kept) - len(rows) :] = rows
    except (OSError, KeyError) as error:
        raise CaffeCompatError(f"cannot write the HDF5 file {path}: {error}") from None
