"""Files of any age rewritten in today's form, as Caffe's upgrade_* tools do."""

from __future__ import annotations

import os

from caffecompat.formats.atomic import atomic_write
from caffecompat.schema import open_net, open_net_binary, open_solver, write_text

__all__ = ["upgrade_net_proto_binary", "upgrade_net_proto_text", "upgrade_solver_proto_text"]

PathLike = str | os.PathLike[str]


def upgrade_net_proto_text(path: PathLike, out: PathLike, *, strict: bool = False) -> bool:
    """Rewrite a net's prototxt of any age in today's form (V0 and V1 layers, input fields, BatchNorm upgraded).

    Args:
        path: of the file to read.
        out: prototxt to write; may be the same file.
        strict: unknown fields are errors.

    Returns:
        Whether the file was of an older form.

    Raises:
        PrototxtError: the file cannot be read or is not a net; every problem is in it.
        WriteError: `out` cannot be written.

    >>> import caffecompat
    >>> caffecompat.upgrade_net_proto_text("old.prototxt", "new.prototxt")
    True
    >>> [layer.type for layer in caffecompat.read_net("new.prototxt").layer]
    ['Input', 'ReLU']
    """
    document = open_net(path, strict=strict)
    _write(out, write_text(document.message).encode())
    return document.upgraded


def upgrade_net_proto_binary(path: PathLike, out: PathLike) -> bool:
    """Rewrite a caffemodel of any age in today's form, weights included.

    Args:
        path: of the file to read.
        out: caffemodel to write; may be the same file.

    Returns:
        Whether the file was of an older form.

    Raises:
        PrototxtError: the file cannot be read or is not a binary net.
        WriteError: `out` cannot be written.

    >>> import caffecompat
    >>> caffecompat.upgrade_net_proto_binary("net.caffemodel", "new.caffemodel")
    False
    >>> sorted(caffecompat.load_caffemodel("new.caffemodel"))
    ['conv', 'fc']
    """
    document = open_net_binary(path)
    _write(out, document.message.SerializeToString())
    return document.upgraded


def upgrade_solver_proto_text(path: PathLike, out: PathLike, *, strict: bool = False) -> bool:
    """Rewrite a solver's prototxt of any age in today's form (``solver_type`` becomes ``type``).

    Args:
        path: of the file to read.
        out: prototxt to write; may be the same file.
        strict: unknown fields are errors.

    Returns:
        Whether the file was of an older form.

    Raises:
        PrototxtError: the file cannot be read or is not a solver; every problem is in it.
        WriteError: `out` cannot be written.

    >>> import caffecompat
    >>> caffecompat.upgrade_solver_proto_text("solver.prototxt", "new_solver.prototxt")
    False
    """
    solver, upgraded = open_solver(path, strict=strict)
    _write(out, write_text(solver).encode())
    return upgraded


def _write(path: PathLike, data: bytes) -> None:
    with atomic_write(path) as file:
        file.write(data)
