"""Rewrite a caffemodel of any age in today's form, weights included, as Caffe's upgrade_net_proto_binary does."""

from __future__ import annotations

import argparse

from caffecompat.cli.common.outputs import output

HELP = "rewrite an old caffemodel in today's form"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="NET_IN", help="caffemodel to read")
    parser.add_argument(
        "output",
        type=output("a file of weights", in_place=True),
        metavar="NET_OUT",
        help="caffemodel to write; may be the same file",
    )


def run(args: argparse.Namespace) -> int:
    from caffecompat import glog
    from caffecompat.formats.upgrades import upgrade_net_proto_binary

    if not upgrade_net_proto_binary(args.input, args.output):
        glog.error(f"File already in latest proto format: {args.input}", "upgrade_net_proto_binary.cpp:38")
    glog.info(f"Wrote upgraded NetParameter binary proto to {args.output}", "upgrade_net_proto_binary.cpp:46")
    return 0
