"""Make the net that is deployed of the one that is trained.

    caffecompat export deploy --model train_val.prototxt --weights net.caffemodel out/ --softmax --merge-bn
    caffecompat export deploy --model train_val.prototxt out/espnet --size 1024x512
    caffecompat export deploy --model train_val.prototxt --weights net.caffemodel out/ --for vitis

OUT is a folder (it ends in / or is there) or the stem of the files: OUT.prototxt and OUT.caffemodel; in a folder they
are deploy.prototxt and deploy.caffemodel. Data layers become Input; losses, accuracies, Dropout and Silence go.

--for vitis writes float.prototxt and float.caffemodel for vai_q_caffe: calibration pictures come from an ImageData
layer, which resizes and crops them as training does; relative paths in it lead from its folder. Of a list without
labels a copy with zeros is written, names with blanks are an error. With --resize-bilinear, bilinear Deconvolutions
become DeephiResize, which computes other values along the border; the report says how far. --for tidl-caffe folds batch
normalization, puts what is left of it into BatchNorm and Scale, and adds the importer's configuration, tidl_import.txt.

What is folded or rewritten is run against the net as it was, on random input; exit status 1 means that numbers changed
though nothing that changes numbers was asked for. A net that is rewritten and holds NaN or infinity, or computes them,
is an error: the first such layer is named, and nothing is written.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import (
    COUNT,
    UsageError,
    add_nonfinite_flag,
    add_switch,
    check_companions,
    weight_files,
)
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.picture_flags import names_fitting_sizes, size_of

if TYPE_CHECKING:
    from caffecompat.deploy.export_deploy import ExportedDeploy

_JUDGED_BY = {"vitis": ("dpu", "1.4"), "tidl-caffe": ("tidl", None)}  # vai_q_caffe ended with Vitis AI 1.4

HELP = "the deploy prototxt and caffemodel of a train_val"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=output(), metavar="OUT", help="folder, or stem of the files to write")
    parser.add_argument("--model", metavar="FILE", required=True, help="train_val or deploy prototxt")
    parser.add_argument("--weights", metavar="FILE", help="its weights; without them only prototxts are written")
    parser.add_argument("--size", metavar="WxH", help="input size, as in 1024x512")
    parser.add_argument(
        "--batch", type=COUNT, metavar="N", help="batch of the input (the Input's own, else 1 or what the net needs)"
    )
    parser.add_argument("--channels", type=COUNT, metavar="N", help="of pictures whose data cannot be opened (3)")
    add_switch(parser, "softmax", "probabilities in the loss's place: Softmax, or Sigmoid where the loss has one")
    add_switch(parser, "argmax", "the best class of each pixel in the loss's place")
    parser.add_argument("--head-name", metavar="NAME", help="name of that layer and its top (prob, argmax)")
    add_switch(parser, "merge-bn", "fold batch normalization and Scale where that makes no target's net worse")
    add_switch(parser, "running-statistics", "BatchNorm with use_global_stats: false uses its stored statistics")
    parser.add_argument("--for", dest="target", metavar="TOOL", help="vitis or tidl-caffe: the form that tool wants")
    add_switch(parser, "resize-bilinear", "with --for vitis, bilinear Deconvolutions become DeephiResize")
    parser.add_argument("--calibration", metavar="LIST", default="calibration.txt",
                        help="list of calibration pictures, 'name 0' a line (calibration.txt)")  # fmt: skip
    parser.add_argument("--root-folder", metavar="DIR", default="", help="folder of the pictures in that list")
    add_nonfinite_flag(parser)
    net_flags(parser)


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    from caffecompat.deploy.export_deploy import export_deploy

    _check(args)
    if (args.merge_bn or args.target == "tidl-caffe") and not args.weights:
        raise UsageError("caffecompat export deploy: folding batch normalization needs --weights")
    done = export_deploy(
        open_model(args, args.model),
        weight_files(args.weights),
        args.out,
        size=size_of(args),
        batch=args.batch,
        channels=args.channels,
        head="softmax" if args.softmax else "argmax" if args.argmax else None,
        head_name=args.head_name,
        merge_batch_norm=args.merge_bn,
        running_statistics=args.running_statistics,
        target=args.target or "",
        resize_bilinear=args.resize_bilinear,
        calibration=args.calibration,
        root_folder=args.root_folder,
        allow_nonfinite=args.allow_nonfinite,
        on_note=print,
    )
    _print_verdict(done, _JUDGED_BY.get(args.target))
    return 0 if done.same else 1


def _print_verdict(done: ExportedDeploy, target: tuple[str, str | None] | None) -> None:
    """What the hardware makes of the written prototxt; without one, whether the numbers are the net's."""
    from caffecompat.cli.common.verdicts import numbers_verdict, print_target_verdict
    from caffecompat.compare.nets import TOLERANCE
    from caffecompat.deploy.targets.check import check

    relative = [difference.relative for difference in done.differences]
    if target is None or not done.same:
        print(numbers_verdict(relative, same=max(relative, default=0.0) <= TOLERANCE))
    else:
        written = next(path for path in done.paths if path.endswith(".prototxt"))
        print_target_verdict(check(written, *target))


def _check(args: argparse.Namespace) -> None:
    """Flags that contradict each other, or need another one."""
    from caffecompat.deploy.export_deploy import TARGETS

    if args.softmax and args.argmax:
        raise UsageError("caffecompat export deploy: give --softmax or --argmax, not both")
    if args.target and args.target not in TARGETS:
        raise UsageError(f"caffecompat export deploy: --for {args.target}: expected {' or '.join(TARGETS)}")
    rows = (
        ("--head-name", "--softmax or --argmax", args.head_name and not (args.softmax or args.argmax)),
        ("--resize-bilinear", "--for vitis", args.resize_bilinear and args.target != "vitis"),
        ("--root-folder", "--for vitis", args.root_folder and args.target != "vitis"),
    )
    check_companions("export deploy", rows)
    weight_files(args.weights)
