"""Score a trained net.

    caffecompat eval segmentation --model deploy.prototxt --weights net.caffemodel \\
        --list val.txt --mean 73,82,72 --scale 0.022
    caffecompat eval segmentation --model deploy.prototxt --snapshots snapshots/espnet --list val.txt --plot miou.png
    caffecompat eval detection --model deploy.prototxt --weights ssd.caffemodel --list VOC2007 --mean 104,117,123
    caffecompat eval classification --model deploy.prototxt --weights net.caffemodel --db val_lmdb --mean 104,117,123
"""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType

HELP = "score a net: segmentation (IoU), detection (mAP), classification (top-k)"

_TASKS = ("segmentation", "detection", "classification")


def _module(task: str) -> ModuleType:
    return importlib.import_module(f"caffecompat.cli.eval_{task}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_subparsers(dest="task", metavar="|".join(_TASKS), required=True)
    for task in _TASKS:
        module = _module(task)
        module.add_flags(tasks.add_parser(task, help=module.HELP, description=module.__doc__))


def run(args: argparse.Namespace) -> int:
    return int(_module(args.task).run(args))
