"""Several processes of this machine that run one command together."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType

from caffecompat import glog
from caffecompat.errors import CaffeCompatError, exit_with
from caffecompat.threads import cores

__all__ = ["end_with_starter", "run_together"]

_LOOK = 0.05  # seconds
_STARTER = "CAFFECOMPAT_STARTER"  # the process that started one of several
_WATCH = 0.5  # seconds
_GRACE = 10.0  # that the others have to end by themselves once one of them has failed
_FORWARDED = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def run_together(command_line: Sequence[str], count: int) -> int:
    """Run this command in so many processes, which find their group in the environment as torchrun's do.

    Signals go to all of them. Each computes with its part of the cores, where OMP_NUM_THREADS does not say otherwise.

    Returns:
        The exit status of the first one.

    Raises:
        CaffeCompatError: one of them was killed.
    """
    glog.info(f"Starting {count} processes")
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    group |= {"LOCAL_WORLD_SIZE": str(count), _STARTER: str(os.getpid())}
    defaults = {"OMP_NUM_THREADS": str(max(1, cores() // count))}
    if sys.platform == "linux":
        defaults["GLOO_SOCKET_IFNAME"] = "lo"  # the machine's own name need not lead anywhere
    processes: list[subprocess.Popen[bytes]] = []
    with _forwarding(processes):
        try:
            for rank in range(count):
                own = {**defaults, **os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                command = [sys.executable, "-m", "caffecompat", *command_line]
                # Not in the terminal's group of processes: Ctrl-C would reach them twice.
                processes.append(subprocess.Popen(command, env=own, stdin=subprocess.DEVNULL, start_new_session=True))
            return _wait(processes)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                process.wait()


def end_with_starter(environment: Mapping[str, str]) -> None:
    """Let this process end, at the latest a second later, when the one that started it is killed.

    That is `run_together`, or torchrun's agent. Others may leave the processes they start: srun ends them by itself,
    and a shell is meant to.
    """
    if _STARTER in environment:
        starter = int(environment[_STARTER])
    elif "TORCHELASTIC_RUN_ID" in environment:
        starter = os.getppid()
    else:
        return
    threading.Thread(target=_watch, args=(starter,), name="caffecompat starter", daemon=True).start()


def _watch(starter: int) -> None:
    while os.getppid() == starter:  # an orphan gets another parent; Windows never says so
        time.sleep(_WATCH)
    # No snapshot is cut short by that: its files get their names when they are whole.
    print(f"error: the process that started this one (number {starter}) has ended", file=sys.stderr, flush=True)
    os._exit(1)


@contextlib.contextmanager
def _forwarding(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Meanwhile signals that this process gets are theirs."""

    def forward(number: int, frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait until all have ended; where one has failed, the others must soon."""
    failed: list[tuple[int, int]] = []  # rank and exit status, the earliest first
    deadline = float("inf")
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        for rank, process in enumerate(processes):
            if process.poll() and all(rank != other for other, _ in failed):
                failed.append((rank, process.returncode))
                deadline = min(deadline, time.monotonic() + _GRACE)
        time.sleep(_LOOK)
    statuses = [process.poll() for process in processes]
    failed = failed or [(rank, status) for rank, status in enumerate(statuses) if status]
    for rank, status in failed:
        if status < 0:
            name = signal.Signals(-status).name
            problem = CaffeCompatError(f"process {rank} of {len(processes)} was killed by {name}")
            exit_with(problem, 1)
            raise problem
    return failed[0][1] if failed else 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
