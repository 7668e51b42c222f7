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

Decoding in parallel with it (two pictures of 1024x512 as PNG a step of 0.7 s) made such a step 0.5% slower with one
loader thread and 12% with two (medians and means wander by 5%), hence half the cores for decoding.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

__all__ = [
    "MOST_THREADS", "choose_loader_threads", "configure_threads", "cores", "loader_threads", "share_cores",
    "start_loader_thread",
]  # fmt: skip

MOST_THREADS = 512  # that a user may ask for at once; more is a slip of the finger

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_configured = False
_processes = 1  # that share this machine's cores
_chosen = 0  # threads that decode for a data layer, whatever the layer says


def configure_threads() -> None:
    """Make the threads of torch and OpenCV share this process's cores: what the command line does for itself.

    Best called before torch is imported. It sets

    - ``GOMP_SPINCOUNT`` and ``KMP_BLOCKTIME`` in ``os.environ``, which OpenMP libraries read while torch is loaded:
      threads that wait for each other spin briefly, then sleep. Skipped where one of them or ``OMP_WAIT_POLICY`` is
      set already, or torch is loaded;
    - the number of torch's threads, where a container allows fewer cores than the machine has: ``OMP_NUM_THREADS``,
      or once torch is loaded ``torch.set_num_threads``. A value that the user has set is left as it is;
    - OpenCV's own threads to one, at the moment a data layer starts threads that decode pictures.

    Nothing else in the package changes any of these: importing it does not, nor does making or running a net. Calling
    it again is harmless.

    >>> import caffecompat
    >>> caffecompat.configure_threads()
    """
    global _configured
    _configured = True
    torch = sys.modules.get("torch")
    if torch is None and not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = "10000"  # libgomp: turns, 0.2 to 0.5 ms
        os.environ["KMP_BLOCKTIME"] = "1"  # Intel's and LLVM's: milliseconds
    if _quota() >= _allowed() or "OMP_NUM_THREADS" in os.environ:
        return
    if torch is None:  # it counts the machine's cores, also in a container that may use two of them
        os.environ["OMP_NUM_THREADS"] = str(cores())
    else:
        torch.set_num_threads(min(torch.get_num_threads(), cores()))


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


def choose_loader_threads(count: int) -> None:
    """Let every data layer made from now on decode with so many threads; 0 undoes that."""
    global _chosen
    _chosen = count


def share_cores(processes: int) -> None:
    """Leave room for as many processes like this one when threads decode for a data layer."""
    global _processes
    _processes = processes


def loader_threads(asked: int = 0) -> int:
    """Threads that decode for one data layer: those chosen for all, or half of the process's cores, at most 8.

    Args:
        asked: by the layer, with a field `threads`; 0 for none.
    """
    return _chosen or asked or max(1, min(8, cores() // (2 * _processes)))


def start_loader_thread(work: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread for decoding; after `configure_threads` OpenCV has no threads of its own."""
    if _configured:
        import cv2

        cv2.setNumThreads(1)
    thread = threading.Thread(target=work, name="caffecompat loader", daemon=True)
    thread.start()
    return thread
