"""List the layers that the DPU does not compute as they are, in check_results.txt as the original does.

Each line: the layer's number, name and type, then 2 and what will become of it, 3 for what passes values on or is
computed by the CPU, 0 for what is not supported. Layers of types that the original does not know are printed alone.
`caffecompat check --target dpu` says more: limits of sizes, and what to change.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.quantize_flags import other_flags, required, say_unused

HELP = "list layers that the DPU does not compute"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="FILE", help="the net's prototxt (required)")
    parser.add_argument("--gpu", metavar="N", help="taken, without effect: nothing is computed")
    other_flags(parser)


def run(args: argparse.Namespace) -> int:
    required("check", args, "model")
    say_unused("check", args)

    from caffecompat.formats.atomic import atomic_write
    from caffecompat.quantize.dpu_layers import dpu_verdicts
    from caffecompat.schema import read_net

    verdicts = dpu_verdicts(read_net(args.model))
    with atomic_write("check_results.txt") as file:
        file.write("".join(f"{verdict.line}\n" for verdict in verdicts if verdict.code is not None).encode())
    refused = [verdict for verdict in verdicts if verdict.code == 0]
    for verdict in verdicts:
        if not verdict.code:
            why = "is not supported by the DPU" if verdict.code == 0 else "is not known, and may not be supported"
            print(f"{verdict.number}. {verdict.name} ({verdict.type}) {why}. {verdict.remark}".rstrip())
    outcome = "Check failed" if refused else "Check passed"
    print(f"{outcome}, see check_results.txt; 'caffecompat check {args.model} --target dpu' says what to change.")
    return 0
