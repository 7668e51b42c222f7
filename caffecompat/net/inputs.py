"""What a net is called with: its fed blobs in order, by keyword or in a mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from caffecompat.errors import CaffeCompatError
from caffecompat.wording import did_you_mean, few

__all__ = ["blobs_by_name"]


def blobs_by_name(
    net: str, fed: Sequence[str], blobs: Sequence[Any], named: Mapping[str, Any]
) -> Mapping[str, Tensor | np.ndarray]:
    """The blobs of a call by name.

    Args:
        net: the net's name.
        fed: names of its fed blobs.
        blobs: positional arguments: blobs in the order of `fed`, or one mapping, which may hold others, too.
        named: keyword arguments.

    Raises:
        CaffeCompatError: they are not what the net is fed with; the message lists what is.
    """
    if len(blobs) == 1 and isinstance(blobs[0], Mapping):
        given = {**blobs[0], **named}
    else:
        if len(blobs) > len(fed):
            raise CaffeCompatError(f"{_takes(net, fed)}, which is {len(fed)}; {len(blobs)} inputs are given")
        given = dict(zip(fed, blobs, strict=False))
        for blob in named:
            if blob in given:
                raise CaffeCompatError(f"{_takes(net, fed)}; {blob!r} is given by position and by name")
        given.update(named)
    for blob in named:
        if blob not in fed:
            raise CaffeCompatError(f"{_takes(net, fed)}, not {blob!r}{did_you_mean(blob, fed, quoted=True)}")
    for blob in fed:
        if blob in given and not isinstance(given[blob], Tensor | np.ndarray):
            raise CaffeCompatError(
                f"{_takes(net, fed)} as tensors or numpy arrays; {blob!r} is given as {type(given[blob]).__name__}"
            )
    return given


def _takes(net: str, fed: Sequence[str]) -> str:
    """The head of an error; made only then, as nets are called in the innermost loop."""
    return f"net {net!r} takes {few([repr(blob) for blob in fed], 8) or 'no inputs'}"
