"""Which device the flags, the solver and this machine's torch agree on."""

from __future__ import annotations

import re

import torch

from caffecompat import glog
from caffecompat.cli.common.flags import UsageError, split_commas
from caffecompat.net.device import allow_tf32
from caffecompat.schema import pb

__all__ = ["cards_of", "choose_device", "own_card"]


def choose_device(
    gpu: str | None, device: str | None, solver: pb.SolverParameter | None = None, *, tf32: bool = False
) -> tuple[torch.device, int]:
    """The device to compute on, and how many GPUs the user named.

    Order: ``--device``, then ``--gpu``, then the solver's solver_mode and
    device_id. Where torch has no GPU the answer is the CPU, with a log line. What GPUs compute in float32 is computed
    in full, as by Caffe, unless `tf32` is set.

    Raises:
        UsageError: the device is not one that torch knows here.
    """
    if device:
        chosen, count = _named(device), 1
    elif gpu:
        ids = list(range(torch.cuda.device_count())) if gpu == "all" else _numbers(gpu)
        chosen, count = _cuda(ids[0] if ids else 0), max(1, len(ids))
    elif solver is not None and solver.solver_mode == pb.SolverParameter.GPU:
        chosen, count = _cuda(solver.device_id), 1
    else:
        chosen, count = torch.device("cpu"), 1
    allow_tf32(tf32)
    if chosen.type == "cpu":
        glog.info("Use CPU.", "caffe.cpp:197")
    else:
        glog.info(f"Using GPUs {gpu or chosen.index}", "caffe.cpp:204")
        glog.info(f"GPU {chosen.index}: {torch.cuda.get_device_name(chosen)}", "caffe.cpp:209")
    return chosen, count


def cards_of(gpu: str | None, device: str | None) -> list[int]:
    """The GPUs that the flags name, if they are several and this machine has them all; else none."""
    if device or not gpu or not torch.cuda.is_available():
        return []
    ids = list(range(torch.cuda.device_count())) if gpu == "all" else _numbers(gpu)
    return ids if len(ids) > 1 and max(ids) < torch.cuda.device_count() else []


def own_card(gpu: str | None, device: str | None, solver: pb.SolverParameter, local: int) -> str | None:
    """The --gpu of one of several processes on this machine, each of which computes on a GPU of its own.

    Args:
        gpu: what the user named; without it solver_mode says whether to take GPUs at all.
        local: the number of the process among those of this machine.

    Raises:
        UsageError: there are fewer GPUs than processes.
    """
    wants = gpu or solver.solver_mode == pb.SolverParameter.GPU
    if device or not wants or not torch.cuda.is_available():
        return gpu
    cards = list(range(torch.cuda.device_count())) if gpu in (None, "all") else _numbers(gpu or "")
    if local >= len(cards):
        named = f"--gpu {gpu} names" if gpu else "there are"
        raise UsageError(f"process {local} of this machine has no GPU of its own: {named} {len(cards)}")
    return str(cards[local])


def _numbers(gpu: str) -> list[int]:
    ids = split_commas(gpu)
    if not all(re.fullmatch(r"[0-9]{1,9}|-1", part) for part in ids) or ("-1" in ids and len(ids) > 1):
        raise UsageError(f"--gpu {gpu}: expected the number of a GPU, several separated by commas, or 'all'")
    return [int(part) for part in ids]


def _cuda(index: int) -> torch.device:
    if index < 0:  # the CPU, to Caffe of 2014
        return torch.device("cpu")
    if not torch.cuda.is_available():
        glog.info("torch finds no GPU here")
        return torch.device("cpu")
    if index >= torch.cuda.device_count():
        raise UsageError(f"GPU {index} is not there; this machine has {torch.cuda.device_count()} (numbered from 0)")
    return torch.device("cuda", index)


def _named(text: str) -> torch.device:
    if text.isdecimal():
        text = f"cuda:{text}"
    try:
        device = torch.device(text)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):  # "meta" computes nothing
        raise UsageError(f"--device {text}: expected cpu, cuda, cuda:N or N")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(f"--device {text}: torch finds no GPU here; use --device cpu")
        return _cuda(device.index or 0)
    return device
