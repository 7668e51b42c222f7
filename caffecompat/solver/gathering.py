"""How processes find each other, also where some of them have been started again."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Any

__all__ = ["name_of_group"]

_LOOK = 0.1  # seconds


def name_of_group(store: Any, rank: int, size: int, seconds: float) -> str:
    """A name for the group of those processes that are there now: the same in all, and another one each time.

    Where torchrun restarts processes, its store still holds what earlier ones wrote, and its count of restarts differs
    from machine to machine. So each process shows a token of its own, and the first one lists those that it sees; once
    all others have found their own in that list, it names the group.

    Args:
        store: of torch.distributed, the same for all.
        seconds: how long to wait for the others.

    Raises:
        TimeoutError: they do not come.
    """
    token, accepted = secrets.token_hex(8), ""
    store.set(f"caffecompat token {rank}", token)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if rank == 0:
            listed = " ".join(_found(store, f"caffecompat token {each}") for each in range(size))
            store.set("caffecompat tokens", listed)
            if all(_found(store, f"caffecompat accepted {each}") == listed for each in range(1, size)):
                accepted = listed
                store.set(_name(listed), "complete")
        else:
            listed = _found(store, "caffecompat tokens")
            tokens = listed.split(" ")
            if listed != accepted and len(tokens) == size and tokens[rank] == token:
                accepted = listed
                store.set(f"caffecompat accepted {rank}", listed)
        if accepted and store.check([_name(accepted)]):
            return _name(accepted)
        time.sleep(_LOOK)
    raise TimeoutError(f"not all {size} have come within {seconds:.0f} s")


def _found(store: Any, key: str) -> str:
    return str(store.get(key).decode()) if store.check([key]) else ""


def _name(listed: str) -> str:
    return f"caffecompat {hashlib.sha256(listed.encode()).hexdigest()[:16]}"
