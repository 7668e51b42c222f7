"""Score a detector on its TEST-phase data, as TI's `caffe test_detection` does: `caffecompat test` under that name.

caffecompat test_detection --model test.prototxt --weights ssd.caffemodel --iterations 619 --gpu 0
"""

from __future__ import annotations

import argparse

from caffecompat.cli.commands import test
from caffecompat.cli.commands.test import add_flags

__all__ = ["HELP", "add_flags", "run"]

HELP = "score a detector: mean average precision (TI's name for test)"


def run(args: argparse.Namespace) -> int:
    return test.score(args, "Test net output mAP #")
