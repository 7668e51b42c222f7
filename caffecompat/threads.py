"""Threads beside threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

__all__ = ["loader_threads", "start_loader_thread"]


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def loader_threads() -> int:
    """Decoding threads of one source."""
    return max(1, min(8, cores() // 2))


def start_loader_thread(work: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread for decoding."""
    thread = threading.Thread(target=work, name="caffecompat loader", daemon=True)
    thread.start()
    return thread
