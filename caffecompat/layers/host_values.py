"""The values of fed blobs on the host they come from, for those who look at them: asking a GPU would wait for it."""

from __future__ import annotations

from collections.abc import MutableMapping

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["host_values", "note_host_values"]

_known: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()


def note_host_values(sent: Tensor, host: Tensor) -> None:
    """Remember, as long as a tensor of a device lives, which one of the host it was copied from."""
    _known[sent] = host


def host_values(blob: Tensor) -> Tensor:
    """The tensor of the host that a blob is a copy of; the blob itself where none is known."""
    return _known.get(blob, blob)
