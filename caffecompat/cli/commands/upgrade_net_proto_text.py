"""Rewrite a net's prototxt of any age in today's form, as Caffe's upgrade_net_proto_text does."""

from __future__ import annotations

import argparse

from caffecompat.cli.common.outputs import output

HELP = "rewrite an old net's prototxt in today's form"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="NET_IN", help="prototxt to read")
    parser.add_argument(
        "output",
        type=output("a prototxt", in_place=True),
        metavar="NET_OUT",
        help="prototxt to write; may be the same file",
    )
    parser.add_argument("--strict", action="store_true", help="unknown fields are errors")


def run(args: argparse.Namespace) -> int:
    from caffecompat import glog
    from caffecompat.formats.upgrades import upgrade_net_proto_text

    if not upgrade_net_proto_text(args.input, args.output, strict=args.strict):
        glog.error(f"File already in latest proto format: {args.input}", "upgrade_net_proto_text.cpp:40")
    glog.info(f"Wrote upgraded NetParameter text proto to {args.output}", "upgrade_net_proto_text.cpp:46")
    return 0
