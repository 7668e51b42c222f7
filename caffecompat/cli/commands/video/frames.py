"""Write frames of a video as pictures, and a list of them.

The pictures are called NAME_000000.png, ..., by the numbers of the frames; list.txt has lines 'picture class', as
ImageData, convert_imageset and 'lmdb build' read them.
"""

from __future__ import annotations

import argparse

from caffecompat import glog
from caffecompat.cli.common.flags import COUNT, INT32
from caffecompat.cli.common.outputs import make_folder_above
from caffecompat.cli.common.progress import live_line, progress_flag

HELP = "write frames of a video as pictures, and a list of them"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", metavar="FILE", help="a video that OpenCV reads")
    parser.add_argument("out", metavar="DIR", help="folder to make; must not exist")
    parser.add_argument("--every", type=COUNT, default=1, metavar="N", help="each N-th frame, from the first on (1)")
    parser.add_argument("--encode", default="png", metavar="KIND", help="png (default) or jpg")
    parser.add_argument("--label", type=INT32, default=0, metavar="N", help="class in the list (default 0)")
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    from contextlib import ExitStack

    from caffecompat.data.video_frames import extract_frames

    make_folder_above(args.out)
    with ExitStack() as stack:
        update = None

        def step(done: int, total: int) -> None:
            nonlocal update
            update = update or stack.enter_context(live_line(total, "frames", args.progress))
            update(done, "")

        report = extract_frames(
            args.video, args.out, every=args.every, encoding=args.encode, label=args.label, on_progress=step
        )
    if report.read < report.announced:
        glog.warning(
            f"{args.video} says it has {report.announced} frames, {report.read} could be read: is it cut off?",
            "video.py:1",
        )
    print(f"{report.list_path}: {report.written} of {report.read} frames")
    return 0
