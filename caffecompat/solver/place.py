"""Which of the processes that train together this one is, as what started it says in the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from caffecompat.errors import CaffeCompatError

__all__ = ["Place", "nodes_first", "place_of"]


class Place(NamedTuple):
    """Which of a group's processes this is, and where it finds them.

    Attributes:
        rank, size: its number, from 0, and how many there are.
        local: its number among those of this machine.
        host, port: where rank 0, or torchrun, listens.
        local_size: how many of them share the cores that this one may use; 1 under srun, which gives each its own.
    """

    rank: int
    size: int
    local: int
    host: str
    port: int
    local_size: int = 1


def nodes_first(nodes: str) -> str:
    """The first host of a SLURM node list.

    >>> nodes_first("gpu[03-05,9],login1")
    'gpu03'
    """
    first = re.match(r"(?:[^,[]|\[[^]]*\])*", nodes)
    return re.sub(r"\[([^],-]*)[^]]*\]", r"\1", first[0] if first else "")


def place_of(environment: Mapping[str, str]) -> Place | None:
    """The place that torchrun, or SLURM's srun, gives this process; None where neither started it.

    Raises:
        CaffeCompatError: a variable is missing or no number.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        names, host, port = ("RANK", "WORLD_SIZE", "LOCAL_RANK"), environment.get("MASTER_ADDR"), "MASTER_PORT"
    elif "SLURM_PROCID" in environment and environment.get("SLURM_NTASKS", "1") != "1":
        names, port = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"), "MASTER_PORT"
        nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST") or ""
        host = environment.get("MASTER_ADDR") or nodes_first(nodes)
    else:
        return None
    job = environment.get("SLURM_JOB_ID", "0")
    default = 20000 + int(job) % 10000 if job.isdecimal() else 29500
    try:
        rank, size = (int(environment[name]) for name in names[:2])
        local = int(environment.get(names[2], rank))
        number = int(environment.get(port, default))
        local_size = int(environment.get("LOCAL_WORLD_SIZE", 1)) if "RANK" in names else 1
    except ValueError as problem:
        raise CaffeCompatError(
            f"the environment's {', '.join((*names, port))} are not all numbers: {problem}"
        ) from None
    if not host or not 0 <= rank < size:
        raise CaffeCompatError(
            f"the environment says process {rank} of {size}, the first one's host {host or 'missing'}; expected "
            f"{', '.join(names)} and MASTER_ADDR, as torchrun or srun set them"
        )
    return Place(rank, size, local, host, number, max(1, local_size))
