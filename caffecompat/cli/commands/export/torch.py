"""Write a net as one Python file that needs torch alone.

    caffecompat export torch --model deploy.prototxt --weights net.caffemodel net.py

net.py has an nn.Module whose modules are named after the layers and whose variables are named after the blobs; net.pt
next to it is its state_dict. `from net import load` and `load()` give it with its weights; `python net.py` runs it
once. Every layer type that means something at inference can be written; of Python layers ENet's spatial dropout alone.
What is written is loaded and run against the net on random input: a difference over 1e-5 of the largest value is an
error (exit status 1) that leaves no files; so is a net that holds NaN or infinity, or computes them. Masks of max
pooling may choose otherwise between near equals.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.flags import COUNT, add_nonfinite_flag, weight_files
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.picture_flags import names_fitting_sizes, size_of

HELP = "a readable Python file with the net as a torch module"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "out", type=output("Python source"), metavar="OUT.py", help="file to write; OUT.pt goes into the same folder"
    )
    parser.add_argument("--model", metavar="FILE", required=True, help="deploy or train_val prototxt")
    parser.add_argument("--weights", metavar="FILE", help="its weights; without them it stays as its fillers make it")
    parser.add_argument("--size", metavar="WxH", help="input size, as in 1024x512")
    parser.add_argument("--batch", type=COUNT, metavar="N", help="batch of the input (1, or what the net needs)")
    net_flags(parser)
    add_nonfinite_flag(parser)


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    from caffecompat.cli.common.verdicts import numbers_verdict
    from caffecompat.deploy.torch_source.write import export_torch

    done = export_torch(
        open_model(args, args.model),
        weight_files(args.weights),
        args.out,
        batch=args.batch,
        size=size_of(args),
        allow_nonfinite=args.allow_nonfinite,
    )
    for note in done.notes:
        print(note)
    if done.missing:
        print(f"warning: {done.missing}; they stay as filled")
    if not args.weights:
        print("no --weights: these are initial values; zeros, without fillers, make the comparison empty")
    print(f"wrote {done.path} and {done.weights}")
    for difference in done.differences:
        print(f"checked on random input: {difference.line()}")
    print(numbers_verdict([difference.relative for difference in done.differences], same=True))
    return 0
