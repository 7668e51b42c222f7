"""What a net is called with: its fed blobs in order, by keyword or in a mapping, and as the tensors it computes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError
from caffecompat.wording import did_you_mean, few

__all__ = ["blobs_by_name", "missing_blobs", "on_device"]

# Made once, with what is quickest to recognize first: nets are called in the innermost loop.
_NAMED = (dict, Mapping)
_ARRAYS = (Tensor, np.ndarray)


def blobs_by_name(
    net: str, fed: Sequence[str], blobs: Sequence[object], named: Mapping[str, object]
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
    if len(blobs) == 1 and isinstance(blobs[0], _NAMED):
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
        if blob in given and not isinstance(given[blob], _ARRAYS):
            raise CaffeCompatError(
                f"{_takes(net, fed)} as tensors or numpy arrays; {blob!r} is given as {type(given[blob]).__name__}"
            )
    return given


def _takes(net: str, fed: Sequence[str]) -> str:
    """The head of an error; made only then, as nets are called in the innermost loop."""
    return f"net {net!r} takes {few([repr(blob) for blob in fed], 8) or 'no inputs'}"


def missing_blobs(net: str, missing: Sequence[str]) -> CaffeCompatError:
    """The error that a net is called without some of its fed blobs."""
    return CaffeCompatError(f"net {net!r} needs inputs for {few([repr(blob) for blob in missing], 8)}")


def on_device(blob: Tensor | np.ndarray, like: Tensor, channels_last: bool) -> Tensor:
    """A blob as a net computes on it; copies to a GPU do not wait.

    Args:
        like: a tensor on the net's device, of its type: float32 becomes float64 in a float64 net.
        channels_last: whether the net computes on pictures laid out so.
    """
    tensor = blob if isinstance(blob, Tensor) else torch.from_numpy(blob)
    if tensor.device != like.device:
        if like.is_cuda and not tensor.is_cuda:
            tensor = tensor.pin_memory()
        tensor = tensor.to(like.device, non_blocking=True)
    if like.dtype == torch.float64 and tensor.dtype == torch.float32:
        tensor = tensor.double()
    if tensor.dim() != 4:
        return tensor
    if not channels_last:
        return tensor.contiguous()
    if torch.compiler.is_compiling():
        return tensor.contiguous(memory_format=torch.channels_last)
    try:
        return tensor.contiguous(memory_format=torch.channels_last)
    except RuntimeError:  # within torch.func.vmap, which has no memory formats
        return tensor.contiguous()
