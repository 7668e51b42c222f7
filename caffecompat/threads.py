"""How many threads work at once, and how torch's wait for each other.

torch computes with a team of OpenMP threads. In libgomp, which its Linux wheels bring, a thread that waits
for the others spins for 300 000 turns, several milliseconds, before it sleeps. While anything else wants a core
(threads that decode pictures, another process) the spinning keeps it, and the thread that all wait for does not
run: a step of LeNet that takes 15 ms alone takes 300 ms. `OMP_WAIT_POLICY=PASSIVE` cures that, but then
each of a step's hundred short loops sleeps and wakes, which costs most when nothing else runs. A short spin is
near the best of both.

Milliseconds a training step on two cores (Intel Xeon) that others used more or less, all settings taken in
turns; "quiet" is the fastest tenth of the steps, "worst" the mean of the worst round. LeNet has batch 64, the
small segmentation net input 1x3x512x1024; "crowded" is the latter's mean with three other busy processes.

=====================  =====================  =====================  =======
setting                LeNet                  segmentation           crowded
                       quiet   mean   worst   quiet   mean   worst
=====================  =====================  =====================  =======
libgomp's default         19     49     507     100    482    3442       973
GOMP_SPINCOUNT=30000      17     36     243                              454
GOMP_SPINCOUNT=10000      17     36     155     124    288     671       366
GOMP_SPINCOUNT=1000       20     37     116                              286
passive                   21     39     210     131    274     925       281
=====================  =====================  =====================  =======

Decoding beside it (two pictures of 1024x512 as PNG a step of 0.7 s) made such a step 0.5% slower with one
loader thread and 12% with two (medians and means wander by 5%), hence half the cores for decoding.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

__all__ = ["cores", "loader_threads", "share_cores", "start_loader_thread"]

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def share_cores() -> None:
    """Make torch's threads wait for each other without keeping others from the cores.

    Works through environment variables that the OpenMP libraries read when torch is loaded, so it is
    called when this package is imported; where torch is loaded already it does nothing. What the user
    has set of them stands.
    """
    if "torch" in sys.modules:
        return
    if not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = "10000"  # libgomp: turns, 0.2 to 0.5 ms
        os.environ["KMP_BLOCKTIME"] = "1"  # Intel's and LLVM's: milliseconds
    if _quota() < _allowed():  # torch counts the machine's cores, also in a container that may use two of them
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))


def cores() -> int:
    """How many cores this process may keep busy: its affinity, or its container's quota if that is less."""
    return max(1, min(_allowed(), _quota()))


def _allowed() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota(root: str = "/sys/fs/cgroup") -> int:
    """The container's limit in whole cores, rounded up; very many if there is none."""
    try:
        with open(f"{root}/cpu.max") as file:
            quota, period = file.read().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return 1 << 16


def loader_threads() -> int:
    """Threads that decode for one data layer: half the cores, at most 8."""
    return max(1, min(8, cores() // 2))


def start_loader_thread(work: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread for decoding. OpenCV's own threads are turned off, once and for all: these are enough."""
    import cv2

    cv2.setNumThreads(1)
    thread = threading.Thread(target=work, name="caffecompat loader", daemon=True)
    thread.start()
    return thread
