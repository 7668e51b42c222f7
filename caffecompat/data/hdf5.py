"""The `HDF5Data` layer: batches of anything, from a text list of HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from caffecompat.data.source import DataError, Request, Source, batch_size_remarks, register_source
from caffecompat.data.walk import Walk, fingerprint
from caffecompat.files import decode_text
from caffecompat.formats.hdf5_weights import dataset_array, explained, open_hdf5
from caffecompat.formats.weights import WeightsError
from caffecompat.paths import find_file, with_slashes
from caffecompat.resumable import State, generator_state, restore_generator, stored_place
from caffecompat.wording import few

__all__ = ["Hdf5Source"]


_MOST_UNWRITTEN = 1 << 28  # bytes of a dataset of which only the shape was written: zeros, for labels that nobody reads


@register_source("HDF5Data")
class Hdf5Source(Source):
    """Rows of the datasets named like the tops, file after file (BVLC hdf5_data_layer.cpp).

    A file is held in memory whole; a batch may cross files and the end of the list. `shuffle` permutes
    the files at the start and at each end, and the rows of each file each time it is begun.
    """

    def __init__(self, request: Request) -> None:
        param = request.layer.hdf5_data_param
        if request.layer.HasField("transform_param"):
            raise DataError("HDF5Data does not transform its data; remove transform_param")
        if not request.layer.top:
            raise DataError("HDF5Data needs tops named like the datasets in its files")
        if param.batch_size < 1:
            raise DataError(f"hdf5_data_param.batch_size must be at least 1, it is {param.batch_size}")
        self._tops = list(request.layer.top)
        self._batch_size = param.batch_size
        self._shuffle = param.shuffle
        self._share = request.share
        self._random = request.generator()
        self._list = request.find("hdf5_data_param.source", param.source)
        self._names = _read_list(self._list)
        self._files = [
            find_file(name, request.relative_to, DataError, field=f"HDF5 file of {self._list}") for name in self._names
        ]
        self._names_print = fingerprint(self._names)
        self._walk = Walk(len(self._files), self._random if self._shuffle else None)
        self._loaded = -1
        self._data: list[np.ndarray] = []
        self._newest: list[tuple[str, np.ndarray]] = []  # what the newest batch has of each file
        self._open()
        self.records = self._count_rows()
        self.top_shapes = [(self._batch_size, *data.shape[1:]) for data in self._data]

    def _count_rows(self) -> int | None:
        """Rows of all files; None where one of those that are not open yet cannot be read."""
        others = [file for index, file in enumerate(self._files) if index != self._loaded]
        try:
            return len(self._rows) + sum(_row_count(file, self._tops[0]) for file in others)
        except (OSError, KeyError, AttributeError, IndexError, WeightsError):
            return None

    def next(self) -> tuple[np.ndarray, ...]:
        tops = tuple(np.empty((self._batch_size, *data.shape[1:]), np.float32) for data in self._data)
        done, size = 0, self._batch_size * self._share.size  # of all processes' batches
        self._newest = []
        while done < size:
            if self._row == len(self._rows):
                self._walk.advance(1)
                self._open()
            rows = self._rows[self._row : self._row + size - done]
            own = rows[(self._share.rank - done) % self._share.size :: self._share.size]
            at = -(-(done - self._share.rank) // self._share.size)  # own rows of the `done`
            for top, data in zip(tops, self._data, strict=True):
                np.take(data, own, axis=0, out=top[at : at + len(own)])
            self._newest += [(self._files[self._loaded], own)]
            self._row += len(rows)
            done += len(rows)
        return tops

    def describe(self, row: int) -> str:
        for file, rows in self._newest:
            if row < len(rows):
                return f"{file}, row {rows[row]}"
            row -= len(rows)
        return ""

    def state(self) -> State:
        return {
            "batch_size": self._batch_size,
            "files": self._names_print,
            "walk": self._walk.state(),
            "file": self._names[self._walk.number()],
            "rows": len(self._rows),
            "row": self._row,
            "random": self._random_before,
        }

    def restore(self, state: State) -> list[str]:
        row = stored_place(state, "row")
        remarks = batch_size_remarks(state, self._batch_size) + self._walk.restore(state["walk"])
        if state["files"] != self._names_print:
            order = range(len(self._names)) if self._walk.order is None else self._walk.order.tolist()
            same = [place for place, number in enumerate(order) if self._names[number] == state["file"]]
            self._walk.at = min(same, key=lambda place: abs(place - state["walk"]["at"]), default=self._walk.at)
            self._walk.advance(0)  # to a new round, if no file of this one is left
            remarks.append(f"{self._list} lists other files; {self._names[self._walk.number()]} is read")
        if state["random"] is not None:
            restore_generator(self._random, state["random"])
        self._open()
        if state["rows"] != len(self._rows):
            remarks.append(f"{self._files[self._loaded]} has {len(self._rows)} rows, the file then had {state['rows']}")
        self._row = min(row, len(self._rows))
        return remarks

    def _open(self) -> None:
        """Begin the file that is due; one that is in memory already is not read again."""
        index = self._walk.number()
        if index != self._loaded:
            data = _load(self._files[index], self._tops)
            for top, new, old in zip(self._tops, data, self._data, strict=False):
                if new.shape[1:] != old.shape[1:]:
                    raise DataError(
                        f"{self._files[index]}: the rows of dataset {top!r} have shape {new.shape[1:]}, "
                        f"those of the file before {old.shape[1:]}"
                    )
            self._data, self._loaded = data, index
        # From here on the order of the rows can be drawn again; to store it would take more.
        self._random_before = generator_state(self._random) if self._shuffle else None
        order = list(range(len(self._data[0])))
        if self._shuffle:
            self._random.shuffle(order)
        self._rows = np.array(order)
        self._row = 0


def _read_list(path: str) -> list[str]:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the list {path}: {error.strerror}") from None
    if content.startswith(b"\x89HDF"):
        raise DataError(f"{path} is an HDF5 file; `source` names a text file that lists HDF5 files")
    if not content.split():
        raise DataError(f"{path} lists no HDF5 file")
    return [with_slashes(name) for name in decode_text(content, "surrogateescape").split()]


def _load(path: str, tops: list[str]) -> list[np.ndarray]:
    """The datasets of one file as float32, all with the same number of rows."""
    import h5py

    try:
        with explained(path), open_hdf5(path) as file, np.errstate(over="ignore"):
            for name in file:  # a file is not trusted where another dataset of it is damaged
                if isinstance(name, str) and isinstance(file.get(name, getlink=True), h5py.HardLink):
                    file[name]
            data = [_dataset(path, file, top).astype(np.float32, copy=False) for top in tops]
    except WeightsError as problem:
        raise DataError(str(problem)) from None
    rows = {top: len(values) for top, values in zip(tops, data, strict=True)}
    if len(set(rows.values())) > 1:
        raise DataError(f"{path}: the datasets differ in their number of rows: {rows}")
    if not len(data[0]):
        raise DataError(f"{path}: the datasets have no rows")
    return data


def _row_count(path: str, top: str) -> int:
    with open_hdf5(path) as file:
        return int(file[top].shape[0])


def _dataset(path: str, file: Any, top: str) -> np.ndarray:
    import h5py

    if top not in file or not isinstance(file[top], h5py.Dataset):
        found = [str(name) for name in file if isinstance(file[name], h5py.Dataset)]
        raise DataError(f"{path} has no dataset {top!r} for the top of that name; it has {few(found, 8)}")
    dataset = file[top]
    if dataset.dtype.kind not in "fiub" or not dataset.shape:
        raise DataError(f"{path}: dataset {top!r} of type {dataset.dtype} and shape {dataset.shape} is no blob")
    return dataset_array(path, dataset, unwritten=_MOST_UNWRITTEN)
