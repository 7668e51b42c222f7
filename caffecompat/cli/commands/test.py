"""Score a model on its TEST-phase data, as `caffe test` does.

    caffecompat test --model train_val.prototxt --weights net.caffemodel --iterations 100

Outputs of DetectionEvaluate layers give the mean average precision. ``caffecompat test_detection`` is the same, as TI's
scripts call it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from caffecompat import glog
from caffecompat.cli.common.flags import (
    COUNT,
    INT32,
    UsageError,
    add_switch,
    device_flags,
    loader_threads_flag,
    weight_files,
)
from caffecompat.cli.common.loaded_weights import check_loaded, missing_flag
from caffecompat.cli.common.net_flags import amp_flag, log_precision, net_flags, open_model
from caffecompat.cli.common.progress import live_line, progress_flag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

HELP = "score a model: the mean of each output over some batches"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="FILE", help="the model definition (required)")
    parser.add_argument("--weights", metavar="FILE", help="its weights (required)")
    parser.add_argument("--iterations", "--test-iter", type=COUNT, default=50, metavar="N",
                        help="batches to run (default 50)")  # fmt: skip
    net_flags(parser)
    amp_flag(parser)
    add_switch(parser, "compile", "compute by what torch.compile makes of the net; the first batch takes longer")
    parser.add_argument("--ap-version", default="11point", metavar="V",
                        help="of detections: 11point (default), MaxIntegral, Integral or COCO")  # fmt: skip
    add_switch(
        parser, "skip-mismatched", "leave layers whose shapes differ from the weight file at their initial values"
    )
    parser.add_argument("--display-sparsity", type=INT32, default=0, metavar="0|1",
                        help="1: also print the share of zeros in the convolutions' weights (TI)")  # fmt: skip
    add_switch(parser, "strict", "unknown fields in the prototxt are errors")
    missing_flag(parser)
    device_flags(parser)
    loader_threads_flag(parser)
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    return score(args, "    Test net output #")


def score(args: argparse.Namespace, precision_line: str) -> int:
    """Run the test; `precision_line` is what the line of a mean average precision begins with."""
    from caffecompat.layers.detection_scores import AP_VERSIONS, COCO

    for name in ("model", "weights"):
        if not getattr(args, name):
            raise UsageError(f"caffecompat test: needs --{name}")
    if args.ap_version not in (*AP_VERSIONS, COCO):
        raise UsageError(f"caffecompat test: --ap-version {args.ap_version}: {', '.join(AP_VERSIONS)} or {COCO}")

    import torch

    from caffecompat.cli.common.devices import choose_device
    from caffecompat.data import make_source
    from caffecompat.evaluate.net_scores import evaluate_net
    from caffecompat.net import Net
    from caffecompat.schema import pb
    from caffecompat.solver.outputs import output_texts

    device, _ = choose_device(args.gpu, args.device)
    document = open_model(args, args.model, strict=args.strict)
    net = Net(
        document, pb.TEST, sources=make_source,
        weights=weight_files(args.weights), skip_mismatched=args.skip_mismatched,
    )  # fmt: skip
    check_loaded(net.loaded, args.weights, args)
    log_precision(net.to(device))
    net.check_files()
    if args.compile:
        net.compile_code()
    glog.info(f"Running for {args.iterations} iterations.", "caffe.cpp:281")
    with live_line(args.iterations, "batches", args.progress) as update:

        def on_batch(done: int, values: Mapping[str, Tensor]) -> None:
            for name, value in values.items():
                for text in output_texts(name, value):
                    glog.info(f"Batch {done - 1}, {text}", "caffe.cpp:304")
            update(done, "")

        scores = evaluate_net(net, iterations=args.iterations, on_batch=on_batch)
    glog.info(f"Loss: {glog.number(scores.loss)}", "caffe.cpp:309")
    for name, mean in scores.outputs.items():
        for text in output_texts(name, torch.from_numpy(mean), net.loss_weights.get(name, 0.0)):
            glog.info(text, "caffe.cpp:321")
    for index, (name, found) in enumerate(scores.detections.items()):
        score = scores.coco[name].ap if args.ap_version == COCO else found.mean(args.ap_version)
        glog.info(f"{precision_line}{index}: {name} = {glog.number(score)}", "caffe.cpp:454")
    if args.display_sparsity:
        from caffecompat.solver.sparsity import log_test_sparsity

        log_test_sparsity(net)
    return 0
