"""What a net is called with: its fed blobs in order, by keyword or in a mapping, and as the tensors it computes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError
from caffecompat.layers.host_values import note_host_values
from caffecompat.wording import did_you_mean, few

__all__ = ["BytePictures", "blobs_by_name", "missing_blobs", "on_device"]


class BytePictures(Protocol):
    """Pictures of a batch that are bytes yet (``caffecompat.data.pixels.Pixels``)."""

    array: np.ndarray

    @property
    def linear(self) -> tuple[np.ndarray, np.ndarray] | None: ...

    def normalize(self, out: np.ndarray) -> None: ...


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


def on_device(blob: Tensor | np.ndarray | BytePictures, like: Tensor, channels_last: bool) -> Tensor:
    """A blob as a net computes on it; copies to a GPU do not wait.

    Pictures that are bytes are copied so, a quarter of the memory, and become floats on the device.

    Args:
        like: a tensor on the net's device, of its type: float32 becomes float64 in a float64 net.
        channels_last: whether the net computes on pictures laid out so.
    """
    if isinstance(blob, _ARRAYS):
        given = blob if isinstance(blob, Tensor) else torch.from_numpy(blob)
        tensor = _sent(given, like)
    else:
        given = tensor = _floats(blob, like)
    if like.dtype == torch.float64 and tensor.dtype == torch.float32:
        tensor = tensor.double()
    if tensor.dim() == 4:
        tensor = _laid_out(tensor, channels_last)
    if tensor.device != given.device:
        note_host_values(tensor, given)
    return tensor


def _sent(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor on the device of another one."""
    if tensor.device == like.device:
        return tensor
    if like.is_cuda and not tensor.is_cuda:
        tensor = tensor.pin_memory()
    return tensor.to(like.device, non_blocking=True)


def _floats(pixels: BytePictures, like: Tensor) -> Tensor:
    """(N, C, H, W) float32 on the device, of (N, H, W, C) bytes: (pixel - mean) * factor, as the CPU rounds it."""
    if pixels.linear is None:  # a mean picture, parts erased: the CPU makes the floats
        floats = np.empty(pixels.array.shape, np.float32)
        pixels.normalize(floats)
        return _sent(torch.from_numpy(floats), like).permute(0, 3, 1, 2)
    mean, factor = (_sent(torch.from_numpy(each), like) for each in pixels.linear)
    return _sent(torch.from_numpy(pixels.array), like).float().sub_(mean).mul_(factor).permute(0, 3, 1, 2)


def _laid_out(tensor: Tensor, channels_last: bool) -> Tensor:
    if not channels_last:
        return tensor.contiguous()
    if torch.compiler.is_compiling():
        return tensor.contiguous(memory_format=torch.channels_last)
    try:
        return tensor.contiguous(memory_format=torch.channels_last)
    except RuntimeError:  # within torch.func.vmap, which has no memory formats
        return tensor.contiguous()
