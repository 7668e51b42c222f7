"""Which record of a data layer a wrong value came from, for messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from caffecompat.layers.layer import LabelError
from caffecompat.net.layer import NetLayer

__all__ = ["naming_records"]


@contextmanager
def naming_records(layers: Sequence[NetLayer]) -> Iterator[None]:
    """Let an error about a label say which file, line of a list or record of a database it was read from.

    Known for labels that a data layer among `layers` made; those that other layers cut or change stay without.
    """
    try:
        yield
    except LabelError as error:
        record = _record(layers, error)
        if not record:
            raise
        raise LabelError(f"{error}\n  the label was read from {record}", error.blob, error.item) from None


def _record(layers: Sequence[NetLayer], error: LabelError) -> str:
    sources = (layer.source for layer in layers if layer.source is not None and error.blob in layer.tops)
    return next((source.describe(error.item) for source in sources), "")
