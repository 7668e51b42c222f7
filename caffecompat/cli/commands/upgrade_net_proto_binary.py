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
    from caffecompat.formats.atomic import atomic_write
    from caffecompat.schema import open_net_binary

    document = open_net_binary(args.input)
    if not document.upgraded:
        glog.error(f"File already in latest proto format: {args.input}", "upgrade_net_proto_binary.cpp:38")
    with atomic_write(args.output) as file:
        file.write(document.message.SerializeToString())
    glog.info(f"Wrote upgraded NetParameter binary proto to {args.output}", "upgrade_net_proto_binary.cpp:46")
    return 0
