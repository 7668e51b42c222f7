"""Compute the mean image of a database, as Caffe's compute_image_mean does.

    caffecompat compute_image_mean train_lmdb mean.binaryproto

OUTPUT_FILE is what `mean_file` in transform_param takes; the mean of each channel (for `mean_value`) is logged.
"""

from __future__ import annotations

import argparse

from caffecompat import glog
from caffecompat.cli.common.caffe_build import OPENED
from caffecompat.cli.common.flags import THREADS
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.progress import live_line, progress_flag

HELP = "compute the mean image of a database"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("database", metavar="INPUT_DB", help="an LMDB or LevelDB of pictures")
    parser.add_argument("output", type=output("a mean picture"), metavar="OUTPUT_FILE", nargs="?",
                        help="binaryproto to write; without it the means of the channels are logged alone")  # fmt: skip
    parser.add_argument("--backend", choices=("lmdb", "leveldb"), help="default: found out by looking")
    parser.add_argument("--threads", type=THREADS, default=0, metavar="N", help="that decode (default: one a core)")
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.mean_image import compute_image_mean
    from caffecompat.formats.database import open_database

    with open_database(args.database, args.backend) as database:
        glog.info(f"Opened {database.backend} {args.database}", OPENED[database.backend])
        count, backend = len(database), database.backend
    glog.info("Starting Iteration", "compute_image_mean.cpp:70")
    with live_line(count, "images", args.progress) as update:

        def on_progress(done: int) -> None:
            update(done, "")
            if done // 10000 > logged[-1]:
                logged.append(done // 10000)
                glog.info(f"Processed {logged[-1] * 10000} files.", "compute_image_mean.cpp:95")

        logged = [0]
        mean = compute_image_mean(
            args.database, args.output, backend=backend, threads=args.threads, on_progress=on_progress
        )
    if count % 10000:
        glog.info(f"Processed {count} files.", "compute_image_mean.cpp:101")
    if args.output:
        glog.info(f"Write to {args.output}", "compute_image_mean.cpp:108")
    glog.info(f"Number of channels: {len(mean)}", "compute_image_mean.cpp:114")
    for channel, plane in enumerate(mean):
        value = glog.number(float(plane.mean(dtype="float64")))
        glog.info(f"mean_value channel [{channel}]: {value}", "compute_image_mean.cpp:119")
    return 0
