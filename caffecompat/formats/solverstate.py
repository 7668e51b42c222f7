"""Solver states: what a training run needs besides the weights to go on where it stopped.

Binary: message SolverState {1 iter, 2 learned_net, 3 history (BlobProto, repeated), 4 current_step}; the SSD fork
adds {5 minimum_loss, 6 iter_last_event}. HDF5: datasets ``/iter``, ``/learned_net``, ``/current_step`` and the
group ``/history`` with ``0``, ``1``, ... (BVLC, SGDSolver::SnapshotSolverStateTo...). Files of ours say besides
whose rules held (see ``own_fields``).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caffecompat.forks import Fork
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.blob_proto import blob_pieces, read_blob
from caffecompat.formats.foreign import MappedFile, describe_message, is_hdf5
from caffecompat.formats.own_fields import FORK, FORK_NAMED, RESUME, fork_called
from caffecompat.formats.weights import WeightsError
from caffecompat.wire import (
    BYTES,
    FIXED32,
    VARINT,
    WireError,
    bytes_header,
    float_field,
    read_field,
    signed,
    string_field,
    varint_field,
)

__all__ = ["SolverState", "read_solverstate", "write_solverstate"]

_WIRE = {
    1: VARINT,
    2: BYTES,
    3: BYTES,
    4: VARINT,
    5: FIXED32,
    6: VARINT,
    FORK: BYTES,
    FORK_NAMED: VARINT,
    RESUME: BYTES,
}
# Attributes of an HDF5 file.
_FORK, _FORK_NAMED, _RESUME = "caffecompat_fork", "caffecompat_fork_named", "caffecompat_resume"


@dataclass(slots=True)
class SolverState:
    """The state of a solver after `iter` iterations.

    Attributes:
        iter: iterations done.
        learned_net: path of the weights as the writer put it, relative to the directory it ran in.
        history: the update rule's memory: one array a learnable parameter in net order; rules with two memories
            (Adam, AdaDelta) have all first ones, then all second ones. Shapes are the parameters', in states
            from before mid-2014 padded to four dimensions.
        current_step: of the `multistep` and `plateau` rate policies.
        minimum_loss, iter_last_event: of the SSD fork's `plateau` policy; None where the file has none.
        fork, fork_named: whose rules held, and whether a person named it; in files of ours.
        resume: digest of the file that belongs to it (`caffecompat.formats.resume_file`); "" without one.
    """

    iter: int
    learned_net: str = ""
    history: list[np.ndarray] = field(default_factory=list)
    current_step: int = 0
    minimum_loss: float | None = None
    iter_last_event: int | None = None
    fork: Fork | None = None
    fork_named: bool = False
    resume: str = ""


def read_solverstate(path: str | os.PathLike[str]) -> SolverState:
    """Read a solver state, binary or HDF5 (told apart by content).

    History arrays of a binary file are read-only views of it.

    Raises:
        WeightsError: the file is something else, is cut short or damaged.
    """
    if is_hdf5(path):
        return _read_hdf5(os.fspath(path))
    file = MappedFile(path, "solver state")
    data = file.data
    state = SolverState(iter=-1)
    inside, at = "", 0
    try:
        while at < file.size:
            inside = ""
            number, wire, value, stop = read_field(data, at, file.size)
            if _WIRE.get(number, wire) != wire:
                raise WireError(f"field {number} of a solver state cannot have wire type {wire}", at)
            if number == 1:
                state.iter = signed(value)
            elif number == 2:
                state.learned_net = bytes(data[value:stop]).decode("utf-8", "surrogateescape")
            elif number == 3:
                inside = f"history {len(state.history)}"
                state.history.append(read_blob(file, value, stop, inside).array())
            elif number == 4:
                state.current_step = signed(value)
            elif number == 5:
                state.minimum_loss = struct.unpack("<f", data[value:stop])[0]
            elif number == 6:
                state.iter_last_event = signed(value)
            elif number == FORK:
                state.fork = fork_called(bytes(data[value:stop]).decode("utf-8", "replace"))
            elif number == FORK_NAMED:
                state.fork_named = bool(value)
            elif number == RESUME:
                state.resume = bytes(data[value:stop]).decode("utf-8", "replace")
            at = stop
    except WireError as problem:
        raise _explain(file, problem, inside, state) from None
    if state.iter < 0:
        raise WeightsError(f"{file.path}: this is {describe_message(data) or 'no solver state'}: it has no iteration")
    return state


def _explain(file: MappedFile, problem: WireError, inside: str, state: SolverState) -> WeightsError:
    what = describe_message(file.data)
    if what == "a caffemodel":
        return WeightsError(f"{file.path}: this is a caffemodel, not a solver state: give it as weights (--weights)")
    if what and what != "a solver state" and not state.history:
        return WeightsError(f"{file.path}: this is {what}, not a solver state")
    where = f" in {inside}" if inside else f" after {len(state.history)} history blobs"
    return WeightsError(
        f"{file.path}: cut short, damaged or not a solver state: {problem} (offset {problem.at} of {file.size}{where});"
        " take an older snapshot or fetch the file again"
    )


def write_solverstate(path: str | os.PathLike[str], state: SolverState, *, raw: bool = False) -> None:
    """Write a solver state that the original Caffe restores: HDF5 for a name ending in ``.h5``, else binary.

    The old file stays whole until the new one is complete. With `raw` a binary file holds NVCaffe's raw_data.

    Raises:
        WriteError: the file could not be written.
    """
    if os.fspath(path).endswith(".h5"):
        _write_hdf5(path, state)
        return
    with atomic_write(path) as file:
        for piece in _pieces(state, raw):
            file.write(piece)


def _pieces(state: SolverState, raw: bool) -> Iterator[bytes | memoryview]:
    yield varint_field(1, state.iter)
    if state.learned_net:
        yield string_field(2, state.learned_net)
    for array in state.history:
        size, pieces = blob_pieces(array, raw=raw)
        yield bytes_header(3, size)
        yield from pieces
    yield varint_field(4, state.current_step)
    if state.minimum_loss is not None:
        yield float_field(5, state.minimum_loss)
    if state.iter_last_event is not None:
        yield varint_field(6, state.iter_last_event)
    if state.fork is not None:
        yield string_field(FORK, state.fork.name)
        yield varint_field(FORK_NAMED, state.fork_named)
    if state.resume:
        yield string_field(RESUME, state.resume)


def _read_hdf5(path: str) -> SolverState:
    from caffecompat.formats.hdf5_text import check_heaps, text_attribute
    from caffecompat.formats.hdf5_weights import dataset_array, explained, is_group, open_hdf5

    with explained(path), open_hdf5(path) as file:
        history = file.get("history")
        if "iter" not in file or not is_group(history):
            what = "weights" if "data" in file else "data of another kind"
            raise WeightsError(f"{path}: this HDF5 file has no '/iter' and '/history': it is {what}")

        def scalar(name: str) -> Any:
            if file[name].dtype.kind == "O":
                check_heaps(path)
            values = np.asarray(file[name][()]).reshape(-1)
            if values.size != 1:
                raise WeightsError(f"{path}: '/{name}' has {values.size} values instead of one")
            return values[0]

        names = sorted((name for name in history if name.isdecimal()), key=int)
        if [int(name) for name in names] != list(range(len(names))):
            raise WeightsError(f"{path}: '/history' has gaps: {', '.join(names[:20])}")
        net = scalar("learned_net") if "learned_net" in file else b""
        return SolverState(
            iter=int(scalar("iter")),
            learned_net=net.decode("utf-8", "surrogateescape") if isinstance(net, bytes) else str(net),
            history=[dataset_array(path, history[name]) for name in names],
            current_step=int(scalar("current_step")) if "current_step" in file else 0,
            minimum_loss=float(scalar("minimum_loss")) if "minimum_loss" in file else None,
            iter_last_event=int(scalar("iter_last_event")) if "iter_last_event" in file else None,
            fork=fork_called(text_attribute(path, file, _FORK)),
            fork_named=bool(file.attrs.get(_FORK_NAMED, False)),
            resume=text_attribute(path, file, _RESUME),
        )


def _write_hdf5(path: str | os.PathLike[str], state: SolverState) -> None:
    from caffecompat.formats.hdf5_text import write_text_attribute
    from caffecompat.formats.hdf5_weights import caffe_floats, create_hdf5, write_string

    with create_hdf5(path) as file:
        file.create_dataset("iter", data=np.array([state.iter], np.int32))
        write_string(file, "learned_net", state.learned_net)
        file.create_dataset("current_step", data=np.array([state.current_step], np.int32))
        if state.minimum_loss is not None:
            file.create_dataset("minimum_loss", data=np.array([state.minimum_loss], np.float32))
        if state.iter_last_event is not None:
            file.create_dataset("iter_last_event", data=np.array([state.iter_last_event], np.int32))
        if state.fork is not None:
            write_text_attribute(file, _FORK, state.fork.name)
            file.attrs[_FORK_NAMED] = state.fork_named
        if state.resume:
            write_text_attribute(file, _RESUME, state.resume)
        history = file.create_group("history")
        for index, array in enumerate(state.history):
            history.create_dataset(str(index), data=caffe_floats(array))
