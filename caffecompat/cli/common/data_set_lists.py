"""What the parts of ``list`` share: their flags, progress, and what they print."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from caffecompat import glog
from caffecompat.cli.common.flags import add_switch
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.progress import live_line, progress_flag

if TYPE_CHECKING:
    from caffecompat.data.lists.listing import ListReport

__all__ = ["list_flags", "write_lists"]

_EVERY = 10.0  # seconds between lines of the log


def list_flags(parser: argparse.ArgumentParser, root: str, made: str = "") -> None:
    """Add ROOT and the flags of all parts.

    Args:
        root: what ROOT is, for the help.
        made: what files are made next to the data set's own, "" for none.
    """
    parser.add_argument("root", metavar="ROOT", help=root)
    parser.add_argument(
        "--out", type=output(), default=".", metavar="DIR", help="folder of the lists (default: the current one)"
    )
    parser.set_defaults(labels=None)
    if made:
        parser.add_argument("--labels", metavar="DIR", help=f"folder of {made} that are made (default: in ROOT)")
    add_switch(parser, "relative", "paths from root_folder on, which is printed; --norelative: absolute", default=True)
    add_switch(parser, "force", "write over lists that are there")
    progress_flag(parser)


def write_lists(args: argparse.Namespace, write: Callable[..., ListReport], **more: Any) -> int:
    """Write the lists and print what they hold; `more` are settings of one data set."""
    if args.labels is not None:
        more["labels"] = args.labels
    with _steps(args.progress) as step:
        report = write(
            args.root,
            args.out,
            relative=args.relative,
            force=args.force,
            on_progress=step,
            on_skip=lambda why: glog.warning(f"left out: {why}", "list.py:1"),
            **more,
        )
    for path, count in report.lists.items():
        print(f"{path}: {count} {'line' if count == 1 else 'lines'}")
    for path in report.files:
        print(path)
    if report.made:
        print(f"made {report.made} label file{'s' if report.made > 1 else ''}")
    print(f'root_folder: "{report.root_folder}"')
    if report.skipped:
        print(f"left out: {len(report.skipped)} (see the log above)")
    return 0


@contextmanager
def _steps(when: str) -> Iterator[Callable[[int, int], None]]:
    """The live line of each step, whose total is known when it begins, and log lines next to it."""
    with ExitStack() as stack:
        current: dict[str, Any] = {"total": 0, "update": None, "logged": time.monotonic()}

        def step(done: int, total: int) -> None:
            if done == 1 or current["update"] is None:
                stack.close()
                current["update"] = stack.enter_context(live_line(total, "files", when))
            current["update"](done, "")
            now = time.monotonic()
            if now - current["logged"] >= _EVERY:
                glog.info(f"{done} of {total} files", "list.py:1")
                current["logged"] = now

        yield step
