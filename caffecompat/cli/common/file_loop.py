"""Pictures, folders and videos given on the command line, done one after the other."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any, Protocol

from caffecompat import glog
from caffecompat.cli.common.outputs import check_folder
from caffecompat.cli.common.picture_files import PICTURES, find_pictures
from caffecompat.cli.common.progress import live_line
from caffecompat.cli.common.videos import VIDEOS, is_video
from caffecompat.errors import CaffeCompatError

__all__ = ["Entry", "check_out", "do_files", "find_files"]


Entry = dict[str, Any]  # of one file, as --json prints it


class Work(Protocol):
    """What is done with a file; both return what ``--json`` prints of it."""

    def picture(self, path: str, name: str) -> Entry: ...
    def video(self, path: str, name: str) -> Entry: ...


def find_files(given: Sequence[str]) -> list[tuple[str, str]]:
    """Pictures and videos with their names below the output folder, as `find_pictures` has them."""
    return find_pictures(given, (*PICTURES, *VIDEOS))


def check_out(
    verb: str, args: argparse.Namespace, files: Sequence[tuple[str, str]], ends: Sequence[str] = ("",)
) -> None:
    """Refuse an ``--out`` in which something that is read would be written over, or be met again as an input.

    Args:
        files: of `find_files`.
        ends: what follows the names of the pictures to be written, without ".png".

    Raises:
        UsageError: it is such a folder.
    """
    if args.out:
        targets = [
            (path, os.path.join(args.out, f"{name}{end}"))
            for path, name in files
            for end in ((".mp4",) if is_video(path) else [f"{one}.png" for one in ends])
        ]
        check_folder(verb, args.out, args.pictures, targets)


def do_files(args: argparse.Namespace, files: Sequence[tuple[str, str]], work: Work) -> None:
    """Do each file; one that cannot be done is reported, and the others are done all the same.

    Raises:
        CaffeCompatError: at the end, where files could not be done; names them.
    """
    done: list[Entry] = []
    failed: list[dict[str, str]] = []
    with live_line(len(files), "files", args.progress) as update:
        for count, (path, name) in enumerate(files, 1):
            try:
                done.append(work.video(path, name) if is_video(path) else work.picture(path, name))
            except CaffeCompatError as problem:
                failed.append({"picture": path, "error": str(problem)})
                glog.error(str(problem))
            update(count, "")
    if args.json:
        print(json.dumps({"model": args.model, "weights": args.weights, "pictures": done, "failed": failed}, indent=1))
    if failed:
        names = "\n".join(f"  {entry['picture']}" for entry in failed)
        raise CaffeCompatError(f"{len(failed)} of {len(files)} files failed:\n{names}")
