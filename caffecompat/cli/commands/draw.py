"""Draw a net: a picture, with the flags of Caffe's draw_net.py, or a page to look around in.

    caffecompat draw train_val.prototxt net.svg --rankdir TB --phase TEST
    caffecompat draw deploy.prototxt --html net.html --weights net.caffemodel

SVG, PNG and text for Graphviz (.dot) need nothing else; other kinds (PDF, ...) are left to Graphviz where it is
installed. In large nets, of blocks of the same structure in a row the first is drawn, and a box in place of the others.

The page is one file: zoom (wheel, + and -), pan, search ( / ), repeated blocks folded until they are clicked, shapes on
the arrows; a click on a layer shows its settings, its cost, and with --weights histograms of its blobs. It shows one
phase, TEST without --phase.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.flags import UsageError, add_switch, check_companions, split_commas, weight_files
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.picture_flags import size_of

HELP = "picture of a net (svg, png, dot), or a page to look around in"

_RANKDIRS = ("LR", "TB", "BT", "RL")
_PHASES = ("TRAIN", "TEST", "ALL")


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="the net's prototxt")
    parser.add_argument(
        "out",
        nargs="?",
        type=output("a picture"),
        metavar="OUT",
        help="where the picture goes; its ending says what kind: .svg, .png, .dot",
    )
    parser.add_argument("--rankdir", default="LR", metavar="DIR",
                        help="the way the net runs: LR (left to right, default), TB, BT or RL")  # fmt: skip
    parser.add_argument("--phase", default="ALL", metavar="PHASE", help="the layers of TRAIN, TEST or ALL (default)")
    parser.add_argument("--html", type=output("a page"), metavar="FILE", help="write a page to look around in")
    parser.add_argument("--weights", metavar="A,B", help="of the page: weights to show statistics and histograms of")
    parser.add_argument("--size", metavar="WxH", help="of the page: size of the input, where neither data nor text say")
    net_flags(parser)
    add_switch(parser, "display-lrm", "of the picture: show the learning-rate multipliers of convolutions")
    add_switch(parser, "fold", "of the picture: fold repeated blocks (default: in nets of more than 100 layers)",
               default=None)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    rankdir, phase = args.rankdir.upper(), args.phase.upper()
    if rankdir not in _RANKDIRS:
        raise UsageError(f"caffecompat draw: --rankdir {args.rankdir}: expected {', '.join(_RANKDIRS)}")
    if phase not in _PHASES:
        raise UsageError(f"caffecompat draw: --phase {args.phase}: expected {', '.join(_PHASES)}")

    check_companions("draw", [("--weights", "--html FILE", args.weights is not None and not args.html),
                              ("--size", "--html FILE", args.size and not args.html)])  # fmt: skip
    if not args.out and not args.html:
        raise UsageError("caffecompat draw: what to write? Give a picture (net.svg), or --html net.html")

    document = open_model(args, args.model)
    if args.out:
        from caffecompat.report.net_drawing import draw_net

        draw_net(
            document, args.out, rankdir=rankdir, phase=None if phase == "ALL" else phase, level=args.level,
            stages=split_commas(args.stage), display_lrm=args.display_lrm, fold=args.fold,
        )  # fmt: skip
        print(f"wrote {args.out}")
    if args.html:
        from caffecompat.report.net_page import draw_page

        draw_page(document, args.html, weights=weight_files(args.weights), phase="TEST" if phase == "ALL" else phase,
                  size=size_of(args))  # fmt: skip
        print(f"wrote {args.html}")
    return 0
