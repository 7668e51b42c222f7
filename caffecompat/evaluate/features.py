"""Blobs of a net, computed over its own data, as records of databases (Caffe's extract_features)."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from caffecompat.data import make_source
from caffecompat.data.build import commit, staging
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.formats.database import DatabaseWriter, open_database
from caffecompat.formats.datum import Datum, encode_datum
from caffecompat.net import Net
from caffecompat.net.device import as_device
from caffecompat.net.interpreter import Interpreter
from caffecompat.net.weights import WeightPaths, weight_paths
from caffecompat.schema import NetSource, as_document
from caffecompat.wording import few, nearest

__all__ = ["FeatureWriter", "extract_features", "write_features"]

_TRANSACTION = 1000


class FeatureWriter:
    """Writes one blob's rows as Datums: float_data in (channels, height, width), keys of ten digits counted from 0.

    Args:
        on_records: called with the count whenever a transaction is on disk.
    """

    def __init__(self, database: DatabaseWriter, on_records: Callable[[int], None]) -> None:
        self._database, self._on_records = database, on_records
        self._waiting: list[tuple[bytes, bytes]] = []
        self.count = 0

    def add(self, blob: np.ndarray) -> None:
        """Write the rows of a blob (N, ...) of up to four axes."""
        channels, height, width = (*blob.shape[1:], 1, 1, 1)[:3]
        rows = np.ascontiguousarray(blob, np.float32).reshape(len(blob), channels, height, width)
        for row in rows:
            record = Datum(channels, height, width, float_data=row.reshape(-1))
            self._waiting.append((b"%010d" % self.count, encode_datum(record)))
            self.count += 1
            if self.count % _TRANSACTION == 0:
                self.flush()

    def flush(self) -> None:
        """Write what waits."""
        self._database.put(self._waiting)
        self._waiting = []
        self._on_records(self.count)

    def finish(self) -> None:
        """Write the rest; as Caffe does, the count is logged again where nothing is left."""
        if self._waiting:
            self.flush()
        else:
            self._on_records(self.count)
        self._database.close()


def extract_features(
    model: NetSource,
    weights: WeightPaths | None,
    datasets: Mapping[str, str | os.PathLike[str]],
    *,
    batches: int,
    backend: str = "lmdb",
    level: int | None = None,
    stages: Sequence[str] = (),
    device: torch.device | str = "cpu",
    allow_missing: bool = False,
    fork: ForkName | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
) -> None:
    """Store blobs of a net, computed over its own TEST-phase data, in databases, as Caffe's extract_features does.

    Each record is a Datum of floats, (channels, height, width), whose key counts from 0000000000. The databases appear
    under their names when all are whole.

    Args:
        model: path of a prototxt with a data layer, or a net that was read.
        weights: a weight file, or a list of them; None leaves initial values.
        datasets: blob -> database to make.
        batches: forward passes.
        backend: "lmdb" or "leveldb".
        level, stages: of the NetState.
        device: where to compute.
        allow_missing: go on though layers that need training get no weights from the files.
        fork: the Caffe whose rules hold, where the text cannot show it.
        on_batch: called with how many batches are done.

    Raises:
        CaffeCompatError: the net, its weights or its data cannot be read or do not fit, the net has no such blob or no
            data layer, or a database exists already or cannot be written.

    >>> import caffecompat
    >>> caffecompat.extract_features("train_val.prototxt", "net.caffemodel", {"fc": "fc_lmdb"}, batches=2)
    >>> [info] = caffecompat.inspect_database("fc_lmdb")
    >>> (info.records, dict(info.shapes))
    (4, {(2, 1, 1): 4})
    """
    if batches < 1:
        raise CaffeCompatError(f"batches {batches} must be at least 1")
    device = as_device(device)
    document = as_document(model, fork=fork)
    net = Net(document, "TEST", level=level, stages=tuple(stages), sources=make_source, log=False, weights=weights)
    try:
        if weights is not None and net.loaded is not None:
            net.loaded.check(", ".join(weight_paths(weights)), allow_missing=allow_missing)
        write_features(net.to(device), datasets, batches, backend, on_batch=on_batch)
    finally:
        net.close()


@torch.no_grad()
def write_features(
    net: Net,
    datasets: Mapping[str, str | os.PathLike[str]],
    batches: int,
    backend: str = "lmdb",
    *,
    on_open: Callable[[str], None] = lambda path: None,
    on_records: Callable[[str, int], None] = lambda blob, count: None,
    on_batch: Callable[[int], None] = lambda done: None,
) -> None:
    """Run a net over its data and keep blobs, as `extract_features` does for a net that is not made yet.

    The databases appear under their names when all are whole; until then they grow in ``<database>.partial``.

    Args:
        net: with data layers of its own; its in-place layers are seen as in Caffe, where a blob holds its last value.
        datasets: blob -> database to make.
        batches: forward passes.
        backend: "lmdb" or "leveldb".
        on_open: called with each database's path before it is made.
        on_records: called with blob and count after each thousand records and at the end.

    Raises:
        CaffeCompatError: the net has no such blob, or no data layer; a database exists already or cannot be written.
    """
    interpreter = Interpreter(net)
    for name in datasets:
        if name not in interpreter.blobs:
            near = nearest(name, list(interpreter.blobs))
            hint = f"; did you mean {near!r}?" if near else f"; there are: {few(list(net.blob_shapes), 8)}"
            raise CaffeCompatError(f"unknown feature blob name {name!r} in the network {net.name!r}{hint}")
        shape = interpreter.blobs[name].shape
        if not 1 <= len(shape) <= 4:
            raise CaffeCompatError(f"blob {name!r} of shape {shape} does not fit into Datums (1 to 4 axes)")
    if not any(layer.source is not None for layer in net.layers):
        raise CaffeCompatError(f"the network {net.name!r} has no data layer; give one that reads its own data")
    names = {blob: os.fspath(path).rstrip("/") for blob, path in datasets.items()}
    if len(set(names.values())) < len(names):
        raise CaffeCompatError(
            f"each blob needs a database of its own, not twice the same: {', '.join(names.values())}"
        )
    with contextlib.ExitStack() as stack:
        folders, writers = {}, {}
        for blob, path in names.items():
            on_open(path)
            folders[blob] = stack.enter_context(staging(path, emptied=True))
            database = stack.enter_context(open_database(folders[blob] / "out", backend, "w"))
            writers[blob] = FeatureWriter(database, functools.partial(on_records, blob))
        for batch in range(batches):
            interpreter.forward()
            for blob, writer in writers.items():
                writer.add(interpreter.blobs[blob].data)
            on_batch(batch + 1)
        for writer in writers.values():
            writer.finish()
        for blob, path in names.items():
            commit(folders[blob], path)
