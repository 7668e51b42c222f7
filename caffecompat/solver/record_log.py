"""A file that says which records a training net has read: by it one sees what each of several processes gets."""

from __future__ import annotations

from caffecompat.formats.atomic import WriteError
from caffecompat.net.layer import Step
from caffecompat.net.net import Net

__all__ = ["RecordLog"]


class RecordLog:
    """A line for each record, in the order in which they are read: iteration, layer, record, with tabs between them.

    Args:
        path: of the file; what was in it is gone.
        net: whose sources are followed from now on.

    Attributes:
        iteration: the number for the next lines.

    Raises:
        WriteError: the file cannot be written.
    """

    def __init__(self, path: str, net: Net) -> None:
        self.iteration = 0
        try:
            self._file = open(path, "w", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 (open while it trains)
        except OSError as problem:
            raise WriteError(f"cannot write the log of records {path}: {problem.strerror}") from None
        net.after_read = self._note

    def _note(self, layer: Step, arrays: object) -> None:
        assert layer.source is not None and isinstance(arrays, (list, tuple))
        rows = len(arrays[0]) if arrays else 0
        records = [layer.source.describe(row) or f"row {row} of a batch without names" for row in range(rows)]
        self._file.writelines(f"{self.iteration}\t{layer.name}\t{record}\n" for record in records)
        self._file.flush()
