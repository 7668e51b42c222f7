"""pycaffe's process-wide state: where nets compute, and the seed."""

from __future__ import annotations

import torch

from caffecompat import data, glog
from caffecompat.forks import ForkName, choice_of, environment_fork, name_fork, named_fork

__all__ = [
    "current_device",
    "current_fork",
    "set_device",
    "set_fork",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_random_seed",
]

_gpu = False
_device_id = 0


def set_mode_cpu() -> None:
    """Nets made from now on compute on the CPU."""
    global _gpu
    _gpu = False


def set_mode_gpu() -> None:
    """Nets made from now on compute on the GPU, where torch has one."""
    global _gpu
    _gpu = True
    if not torch.cuda.is_available():
        glog.warning("set_mode_gpu: torch sees no GPU here; nets compute on the CPU")


def set_device(device_id: int) -> None:
    """Choose the GPU that :func:`set_mode_gpu` means."""
    global _device_id
    _device_id = device_id


def set_random_seed(seed: int) -> None:
    """Seed fillers, dropout and data layers."""
    torch.manual_seed(seed)
    data.seed(seed)


def set_fork(fork: ForkName | None = None) -> None:
    """Name the Caffe whose rules all nets made from now on follow, where their texts cannot show it.

    >>> set_fork("jacinto")
    >>> set_fork(None)

    Args:
        fork: its name ("nvcaffe", "enet", ...), or None: the texts show it again, or ``CAFFECOMPAT_FORK`` names it.

    Raises:
        CaffeCompatError: no fork has that name.
    """
    name_fork(None if fork is None else choice_of(fork, "caffe.set_fork"))


def current_fork(fork: ForkName | None = None) -> ForkName | None:
    """The fork named for a net made now: for it alone, for this process, or in the environment."""
    return fork or named_fork() or environment_fork()


def current_device() -> torch.device:
    """Where a net made now computes."""
    if _gpu and torch.cuda.is_available():
        return torch.device("cuda", _device_id)
    return torch.device("cpu")
