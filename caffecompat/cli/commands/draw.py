"""Draw a net as a picture: SVG, PNG, or text for Graphviz, with the flags of Caffe's draw_net.py.

    caffecompat draw train_val.prototxt net.svg --rankdir TB --phase TEST

SVG and PNG need nothing else; other kinds (PDF, ...) are left to Graphviz where it is installed.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from caffecompat.cli.common.flags import UsageError, add_switch
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import output

if TYPE_CHECKING:
    from caffecompat.schema import NetDocument

HELP = "picture of a net: svg, png, dot"

_RANKDIRS = ("LR", "TB", "BT", "RL")
_PHASES = {"TRAIN": 0, "TEST": 1, "ALL": None}


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
    add_switch(parser, "display-lrm", "also tell the learning-rate multipliers of convolutions")


def run(args: argparse.Namespace) -> int:
    rankdir, phase = args.rankdir.upper(), args.phase.upper()
    if rankdir not in _RANKDIRS:
        raise UsageError(f"caffecompat draw: --rankdir {args.rankdir}: expected {', '.join(_RANKDIRS)}")
    if phase not in _PHASES:
        raise UsageError(f"caffecompat draw: --phase {args.phase}: expected {', '.join(_PHASES)}")

    from caffecompat.report.net_drawing import draw_net_file

    document = open_model(args, args.model)
    net = _of_state(document, phase) if args.stage or args.level is not None else document.message
    draw_net_file(net, args.out, rankdir, phase=_PHASES[phase], display_lrm=args.display_lrm)
    print(f"wrote {args.out}")
    return 0


def _of_state(document: NetDocument, phase: str) -> Any:
    """The net with the layers of its state alone, in one phase or in either."""
    from caffecompat.net.filter import filter_net

    kept: set[int] = set()
    for number in (0, 1) if phase == "ALL" else (_PHASES[phase],):
        state = type(document.message.state)()
        state.CopyFrom(document.message.state)
        state.phase = number
        kept.update(filter_net(document.message, state, lambda line: None)[1])
    return document.keeping(sorted(kept)).message
