"""Draw a net as a picture: SVG, PNG, or text for Graphviz, with the flags of Caffe's draw_net.py.

    caffecompat draw train_val.prototxt net.svg --rankdir TB --phase TEST

SVG and PNG need nothing else; other kinds (PDF, ...) are left to Graphviz where it is installed.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.flags import UsageError, add_switch, split_commas
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import output

HELP = "picture of a net: svg, png, dot"

_RANKDIRS = ("LR", "TB", "BT", "RL")
_PHASES = ("TRAIN", "TEST", "ALL")


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="the net's prototxt")
    parser.add_argument(
        "out",
        type=output("a picture"),
        metavar="OUT",
        help="where the picture goes; its ending says what kind: .svg, .png, .dot",
    )
    parser.add_argument("--rankdir", default="LR", metavar="DIR",
                        help="the way the net runs: LR (left to right, default), TB, BT or RL")  # fmt: skip
    parser.add_argument("--phase", default="ALL", metavar="PHASE", help="the layers of TRAIN, TEST or ALL (default)")
    net_flags(parser)
    add_switch(parser, "display-lrm", "also show the learning-rate multipliers of convolutions")


def run(args: argparse.Namespace) -> int:
    rankdir, phase = args.rankdir.upper(), args.phase.upper()
    if rankdir not in _RANKDIRS:
        raise UsageError(f"caffecompat draw: --rankdir {args.rankdir}: expected {', '.join(_RANKDIRS)}")
    if phase not in _PHASES:
        raise UsageError(f"caffecompat draw: --phase {args.phase}: expected {', '.join(_PHASES)}")

    from caffecompat.report.net_drawing import draw_net

    draw_net(
        open_model(args, args.model), args.out, rankdir=rankdir, phase=None if phase == "ALL" else phase,
        level=args.level, stages=split_commas(args.stage), display_lrm=args.display_lrm,
    )  # fmt: skip
    print(f"wrote {args.out}")
    return 0
