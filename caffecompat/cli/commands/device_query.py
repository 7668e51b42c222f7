"""Show the GPUs that torch finds, as `caffe device_query` does."""

from __future__ import annotations

import argparse

from caffecompat import glog
from caffecompat.cli.common.flags import UsageError, split_commas

HELP = "show the GPUs that torch finds"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gpu", default="all", metavar="N|all", help="which GPUs (default all)")


def run(args: argparse.Namespace) -> int:
    import torch

    glog.info(f"Querying GPUs {args.gpu}", "caffe.cpp:139")
    count = torch.cuda.device_count()
    if not count:
        print(f"no GPU: torch {torch.__version__} finds none here; training runs on the CPU")
        return 0
    wanted = [str(i) for i in range(count)] if args.gpu == "all" else split_commas(args.gpu)
    for text in wanted:
        if text not in map(str, range(count)):
            raise UsageError(f"GPU {text} is not there; this machine has {count} (numbered from 0)")
        found = torch.cuda.get_device_properties(int(text))
        print(f"Device id:                     {text}")
        print(f"Name:                          {found.name}")
        print(f"Major revision number:         {found.major}")
        print(f"Minor revision number:         {found.minor}")
        print(f"Total global memory:           {found.total_memory}")
        print(f"Number of multiprocessors:     {found.multi_processor_count}")
    return 0
