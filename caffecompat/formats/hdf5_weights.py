"""Caffe's HDF5 files of weights (``.caffemodel.h5``).

Layout (BVLC, Net::ToHDF5): group ``/data``, in it a group for every layer, in that the blobs as datasets
``0``, ``1``, ...; gradients the same way under ``/diff``. A blob that another layer owns (``param { name: }``)
is left out. A ``/`` in a layer's name makes nested groups.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from caffecompat.errors import CaffeCompatError, brief
from caffecompat.forks import Fork
from caffecompat.formats.atomic import atomic_path
from caffecompat.formats.hdf5_text import text_attribute, write_text_attribute
from caffecompat.formats.own_fields import fork_called
from caffecompat.formats.weights import LayerWeights, StoredBlob, WeightFile, WeightsError

__all__ = [
    "caffe_floats",
    "create_hdf5",
    "dataset_array",
    "explained",
    "is_group",
    "open_hdf5",
    "open_hdf5_weights",
    "save_hdf5_weights",
    "write_string",
]

# deflate packs at most about 1030 to 1; a dataset that claims more than this over its stored bytes is damaged.
_BEST_COMPRESSION = 2000

_FORK = "caffecompat_fork"  # an attribute of the file


class _DatasetBlob(StoredBlob):
    __slots__ = ("_data", "_diff", "_path")

    def __init__(self, path: str, data: Any, diff: Any | None) -> None:
        self._path, self._data, self._diff = path, data, diff
        self.shape, self.legacy, self.encoding = tuple(data.shape), False, "hdf5"
        self.dtype = data.dtype

    @property
    def has_diff(self) -> bool:
        return self._diff is not None

    def array(self) -> np.ndarray:
        return dataset_array(self._path, self._data)

    def diff(self) -> np.ndarray | None:
        return None if self._diff is None else dataset_array(self._path, self._diff)

    def check(self) -> None:
        _check_storage(self._path, self._data)

    def copy(self) -> np.ndarray:
        return self.array()  # reading makes an array of its own


def open_hdf5_weights(path: str | os.PathLike[str]) -> WeightFile:
    """Open an HDF5 file of weights: layers and shapes at once, values when asked for.

    Layers come in alphabetical order, without types; a blob missing between others is None.

    Raises:
        WeightsError: the file is no HDF5 file, or has no ``/data`` group with layers.
    """
    name = os.fspath(path)
    with explained(name):
        file = open_hdf5(name)
        data = file.get("data")
        if not is_group(data):
            what = "a solver state" if "history" in file else "data of another kind"
            raise WeightsError(f"{name}: this HDF5 file has no group '/data': it is {what}, not weights")
        diffs = file.get("diff")
        layers = list(_layers(name, data, diffs if is_group(diffs) else {}, "", depth=0))
        trained_as = fork_called(text_attribute(name, file, _FORK))
        return WeightFile(name, "", "HDF5", os.path.getsize(name), None, trained_as, layers)


def _layers(path: str, group: Any, diffs: Any, prefix: str, depth: int) -> Iterator[LayerWeights]:
    """The layers of a group and of the groups nested in it, each under the names walked through."""
    if depth > 32:
        raise WeightsError(f"{path}: groups are nested more than 32 deep; is the file damaged?")
    for key in group:
        inner = group[key]
        if not is_group(inner):
            continue
        below = [name for name in inner if is_group(inner[name])]
        inner_diffs: Any = diffs.get(key)
        if not is_group(inner_diffs):
            inner_diffs = {}
        numbered = {int(name): inner[name] for name in inner if name.isdecimal() and name not in below}
        if max(numbered, default=0) >= 1000:
            raise WeightsError(
                f"{path}: layer {prefix + key!r} claims to have more than 1000 blobs; is the file damaged?"
            )
        if numbered or not below:
            blobs: list[StoredBlob | None] = [None] * (max(numbered, default=-1) + 1)
            for index, dataset in numbered.items():
                blobs[index] = _blob(path, f"{prefix}{key}", index, dataset, inner_diffs.get(str(index)))
            yield LayerWeights(prefix + key, "", blobs)
        if below:
            yield from _layers(path, inner, inner_diffs, f"{prefix}{key}/", depth + 1)


def is_group(item: Any) -> bool:
    """Whether something found in an HDF5 file (None: nothing) is a group."""
    return isinstance(item, _h5py().Group)


def _blob(path: str, layer: str, index: int, dataset: Any, diff: Any | None) -> StoredBlob:
    if dataset.shape is None or dataset.dtype.kind != "f":
        raise WeightsError(
            f"{path}: layer {layer!r}, blob {index}: its type {dataset.dtype} is not a floating-point type"
        )
    return _DatasetBlob(path, dataset, diff)


def open_hdf5(path: str) -> Any:
    """The h5py.File of a file to read.

    Raises:
        WeightsError: it is no HDF5 file or cannot be opened.
    """
    h5py = _h5py()
    try:
        return h5py.File(path, "r", locking=False)  # readers need no lock, and network file systems may refuse it
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except OSError as problem:
        raise WeightsError(f"{path}: not an HDF5 file, or cut short or damaged ({brief(problem)})") from problem


_CHECKSUM = 4  # bytes that the Fletcher-32 filter puts at the end of a chunk


def dataset_array(path: str, dataset: Any, *, unwritten: int = 0) -> np.ndarray:
    """All values of a dataset in its shape, float32 or float64.

    Args:
        unwritten: how many bytes a dataset may have whose values were never written, so that they are its fill value.

    Raises:
        WeightsError: they cannot be read, or the file is too small to hold them.
    """
    with explained(path):
        if dataset.dtype.kind == "O":
            raise WeightsError(f"{path}: {dataset.name} holds texts or lists of any length, not numbers")
        _check_storage(path, dataset, unwritten)
        values = np.asarray(dataset[()])
        return values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)


def _check_storage(path: str, dataset: Any, unwritten: int = 0) -> None:
    """Refuse a dataset whose shape is out of proportion to what the file holds of it, before memory is asked for."""
    wanted, stored = dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if wanted > (stored * _BEST_COMPRESSION or unwritten):
        raise WeightsError(f"{path}: {dataset.name} of shape {dataset.shape} has only {stored} bytes stored")
    if dataset.fletcher32 and _smallest_chunk(dataset) < _CHECKSUM:  # libhdf5 would read outside of it
        raise WeightsError(
            f"{path}: {dataset.name} has a chunk that is too small for its checksum; the file is damaged"
        )


def _smallest_chunk(dataset: Any) -> int:
    """Bytes of the smallest chunk that is stored; a full checksum's where there is none."""
    sizes = [_CHECKSUM]
    dataset.id.chunk_iter(lambda chunk: sizes.append(chunk.size))
    return min(sizes)


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn whatever h5py says about a damaged file into a WeightsError."""
    try:
        yield
    except CaffeCompatError:
        raise
    except Exception as problem:  # h5py raises OSError, RuntimeError, KeyError, ValueError, TypeError, ...
        raise WeightsError(f"{path}: damaged HDF5 file ({brief(problem)}); fetch it again") from problem


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise WeightsError("HDF5 files need h5py: pip install h5py") from None
    return h5py


def save_hdf5_weights(
    path: str | os.PathLike[str],
    blobs: Mapping[str, Sequence[np.ndarray | None]],
    diffs: Mapping[str, Sequence[np.ndarray | None]] | None = None,
    fork: Fork | None = None,
) -> None:
    """Write weights as BVLC's Net::ToHDF5 does; the old file stays whole until the new one is complete.

    Args:
        blobs: by layer name, also of the layers without blobs (they get an empty group);
            None stands for a blob that another layer owns.
        diffs: gradients in the same arrangement, for ``snapshot_diff: true``.
        fork: the one that a person named for the net; stored where Caffe does not look.

    Raises:
        WeightsError: a layer's name cannot be a path of groups.
        WriteError: the file could not be written.
    """
    with create_hdf5(path) as file:
        if fork is not None:
            write_text_attribute(file, _FORK, fork.name)
        for group_name, arrays in (("data", blobs), ("diff", diffs)):
            if arrays is None:
                continue
            group = file.create_group(group_name)
            for name, own in arrays.items():
                if any(part in ("", ".", "..") for part in name.split("/")):
                    raise WeightsError(
                        f"{os.fspath(path)}: HDF5 cannot hold a layer named {name!r}; "
                        "rename it, or write a binary caffemodel (snapshot_format: BINARYPROTO)"
                    )
                layer = group.require_group(name)
                for index, array in enumerate(own):
                    if array is not None:
                        layer.create_dataset(str(index), data=caffe_floats(array))


def caffe_floats(array: np.ndarray) -> np.ndarray:
    """The array in C order and one of the two types that Caffe has: float64 stays, all others become float32."""
    return np.asarray(array, np.float64 if array.dtype == np.float64 else np.float32, order="C")


def write_string(group: Any, name: str, text: str) -> None:
    """A string as H5LTmake_dataset_string makes it: scalar, of fixed length with a terminating zero.

    Caffe reads it into a buffer of that length and takes it for a C string.
    """
    h5py = _h5py()
    payload = text.encode("utf-8", "surrogateescape")
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(payload) + 1)
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_obj_track_times(False)  # as for all others: the same content is the same bytes
    dataset = h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR), settings)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(payload + b"\0", f"S{len(payload) + 1}"), kind)


class _Sink(io.FileIO):
    """A file for the HDF5 library that remembers a write that failed, and lets the library go on.

    The library keeps parts of a file that it could not write, and ends the process when they fail again as it closes.

    Attributes:
        problem: the first failure; nothing is written after it.
    """

    problem: OSError | None = None

    def write(self, values: Any) -> int:
        left = memoryview(values).cast("B")
        size = len(left)
        while len(left) and self.problem is None:
            try:
                left = left[super().write(left) :]
            except OSError as problem:
                self.problem = problem
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as problem:
            self.problem = self.problem or problem
            return size or 0


@contextlib.contextmanager
def create_hdf5(path: str | os.PathLike[str]) -> Iterator[Any]:
    """An h5py.File to fill, which becomes `path` when the block ends without an exception.

    Raises:
        WriteError: it could not be written.
    """
    h5py = _h5py()
    with atomic_path(path) as temporary, _Sink(temporary, "r+") as sink:
        with h5py.File(sink, "w") as file:
            yield file
        if sink.problem:
            raise sink.problem
