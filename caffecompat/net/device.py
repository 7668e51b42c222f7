"""Devices as callers give them."""

from __future__ import annotations

import torch

from caffecompat.errors import CaffeCompatError

__all__ = ["allow_tf32", "as_device"]


def as_device(given: torch.device | str) -> torch.device:
    """A device that torch has on this machine.

    Raises:
        CaffeCompatError: torch knows no such device, or finds none here.
    """
    try:
        device = torch.device(given)
    except (RuntimeError, TypeError):
        raise CaffeCompatError(f"device {given!r}: expected cpu, cuda or cuda:N, or a torch.device") from None
    if device.type == "meta":
        raise CaffeCompatError("device 'meta': nothing is computed on it; expected cpu, cuda or cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not count:
            raise CaffeCompatError(f"device {str(given)!r}: torch finds no GPU here; compute on cpu")
        if (device.index or 0) >= count:
            raise CaffeCompatError(f"device {str(given)!r}: this machine has {count} GPU(s), numbered from 0")
    return device


def allow_tf32(allowed: bool) -> None:
    """Let GPUs multiply float32 with the 10 bits of TF32, in matrix products and convolutions, or in full.

    It holds for the process. torch's own default is TF32 in convolutions alone.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
