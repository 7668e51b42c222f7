"""What snapshots of ours hold besides Caffe's fields: under numbers, and in HDF5 attributes, that every Caffe skips."""

from __future__ import annotations

from caffecompat.forks import Fork

__all__ = ["FORK", "FORK_NAMED", "RESUME", "fork_called"]

FORK = 90001  # of NetParameter and SolverState, a string: the name of the Fork whose rules held
FORK_NAMED = 90002  # of SolverState, a bool: a person named it
RESUME = 90003  # of SolverState, a string: the digest of the .resume file that goes with it


def fork_called(name: str) -> Fork | None:
    """A fork by its name in a file; None for a name that only a later version knows."""
    return Fork.__members__.get(name)
