"""Score a quantized (or any other) net on its TEST data.

Logged are the means of the net's outputs; with -net_type segmentation the IoU of each class and their mean instead,
of the scores against the labels that a loss or SegmentPixelIOU reads; with -net_type detection the mean average
precision of DetectionEvaluate, class by class.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import weight_files
from caffecompat.cli.common.quantize_flags import (
    check_score_flags,
    model_flags,
    other_flags,
    required,
    say_unused,
    score_flags,
)

if TYPE_CHECKING:
    import torch

HELP = "score a quantized net on its TEST data"


def add_flags(parser: argparse.ArgumentParser) -> None:
    model_flags(parser)
    score_flags(parser)
    parser.add_argument("--gpu", metavar="N", help="GPU to run on")
    other_flags(parser)


def run(args: argparse.Namespace) -> int:
    required("test", args, "model", "weights")
    check_score_flags("test", args)
    say_unused("test", args)

    from caffecompat.cli.common.devices import choose_device

    device, _ = choose_device(args.gpu, None)
    log_scores(args.model, args.weights, args, device)
    return 0


def log_scores(model: str, weights: str, args: argparse.Namespace, device: torch.device) -> None:
    """Log a net's scores over its TEST data, as the flags of :func:`score_flags` ask.

    Raises:
        CaffeCompatError: the net has no such scores, or its data cannot be read.
    """
    from caffecompat import glog

    glog.info("Start Test", "vai_q_caffe.cpp:240")
    if args.net_type == "segmentation":
        _log_segmentation(model, weights, args, device)
    else:
        _log_outputs(model, weights, args, device)
    glog.info("Test Done!", "net_test.cpp:450")


def _log_segmentation(model: str, weights: str, args: argparse.Namespace, device: torch.device) -> None:
    from caffecompat import glog
    from caffecompat.errors import CaffeCompatError
    from caffecompat.evaluate import Segmenter
    from caffecompat.evaluate.segmentation import evaluate_segmentation

    net = Segmenter(model, weight_files(weights), device=device)
    if args.seg_class_num not in (None, net.classes):
        raise CaffeCompatError(f"-seg_class_num {args.seg_class_num}, but the scores {net.scores!r} of {model} have "
                               f"{net.classes} classes")  # fmt: skip
    matrix = evaluate_segmentation(net, iterations=args.test_iter)
    for label, share in enumerate(matrix.iou().tolist()):
        glog.info(f"class {label} IOU: {glog.number(share)}", "net_test.cpp:430")
    glog.info(f"mIOU: {glog.number(matrix.miou())}", "net_test.cpp:430")


def _log_outputs(model: str, weights: str, args: argparse.Namespace, device: torch.device) -> None:
    import torch

    from caffecompat import glog
    from caffecompat.errors import CaffeCompatError
    from caffecompat.evaluate.net_scores import evaluate_net
    from caffecompat.solver.outputs import output_texts

    scores = evaluate_net(model, weight_files(weights), iterations=args.test_iter, device=device, allow_missing=True)
    if args.net_type == "detection" and not scores.detections:
        raise CaffeCompatError(f"-net_type detection, but {model} has no DetectionEvaluate layer in its TEST phase")
    glog.info(f"Loss: {glog.number(scores.loss)}", "net_test.cpp:415")
    for name, mean in scores.outputs.items():
        for text in output_texts(name, torch.from_numpy(mean)):
            glog.info(text, "net_test.cpp:421")
    for name, found in scores.detections.items():
        for label, precision in found.average_precisions(args.ap_style).items() if args.net_type else ():
            glog.info(f"class{label}: {glog.number(precision or 0.0)}", "net_test.cpp:430")
        glog.info(f"{name} = {glog.number(found.mean(args.ap_style))}", "net_test.cpp:430")
