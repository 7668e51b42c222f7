"""``python -m caffecompat`` and ``caffecompat`` are the command line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Import the command line and run it; returns the exit status.

    Nothing is under way while it is imported, so Ctrl-C ends the process there, at once and without a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # shells have it ignored in the background
        signal.signal(signal.SIGINT, _leave)
        from caffecompat.cli.main import main as run

        signal.signal(signal.SIGINT, signal.default_int_handler)
    else:
        from caffecompat.cli.main import main as run
    return run()


def _leave(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
