"""SIGINT, SIGTERM and SIGHUP as requests that the training loop polls, as in Caffe."""

from __future__ import annotations

import enum
import signal
import threading
from types import FrameType
from typing import Any

from caffecompat import glog
from caffecompat.errors import CaffeCompatError

__all__ = ["Action", "SignalActions"]


class Action(enum.Enum):
    """What a signal asks of the loop."""

    NONE = "none"
    SNAPSHOT = "snapshot"
    STOP = "stop"


def _action(text: str, flag: str) -> Action:
    try:
        return Action(text)
    except ValueError:
        raise CaffeCompatError(f"--{flag} is snapshot, stop or none, not {text!r}") from None


class SignalActions:
    """Turns the signals into requests; a context manager that puts the old handlers back.

    A second SIGINT raises KeyboardInterrupt at once, for the user who cannot
    wait for the iteration to end. A second SIGTERM does not: batch systems send it to a process and to its group.
    """

    def __init__(self, sigint: str = "stop", sighup: str = "snapshot", sigterm: str = "stop") -> None:
        self._effects = {
            signal.SIGINT: _action(sigint, "sigint_effect"),
            signal.SIGTERM: _action(sigterm, "sigterm_effect"),
        }
        if hasattr(signal, "SIGHUP"):
            self._effects[signal.SIGHUP] = _action(sighup, "sighup_effect")
        self._pending: list[Action] = []
        self._old: dict[signal.Signals, Any] = {}

    def __enter__(self) -> SignalActions:
        # Only the main thread may set handlers; elsewhere (a notebook's worker) the loop just gets no requests.
        if threading.current_thread() is threading.main_thread():
            for number in self._effects:
                self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old.clear()
        self._pending.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        effect = self._effects[signal.Signals(number)]
        if number == signal.SIGINT and Action.STOP in self._pending:
            raise KeyboardInterrupt
        if effect is Action.STOP:
            again = " (again to abort at once)" if number == signal.SIGINT else ""
            glog.info(f"Stop requested: finishing this iteration, then writing a snapshot{again}")
        if effect is not Action.NONE:
            self._pending.append(effect)

    def poll(self) -> Action:
        """The most urgent request since the last poll; STOP stays pending, so that every loop sees it."""
        if Action.STOP in self._pending:
            return Action.STOP
        return self._pending.pop(0) if self._pending else Action.NONE
