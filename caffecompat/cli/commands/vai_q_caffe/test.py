"""Score a quantized (or any other) net on its TEST data."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import COUNT, weight_files
from caffecompat.cli.common.quantize_flags import model_flags, required

if TYPE_CHECKING:
    import torch

HELP = "score a quantized net on its TEST data"


def add_flags(parser: argparse.ArgumentParser) -> None:
    model_flags(parser)
    parser.add_argument("--test-iter", type=COUNT, default=50, metavar="N", help="batches to run (default 50)")
    parser.add_argument("--ap-style", default="11point", metavar="V", help="of detections, as test's --ap-version")
    parser.add_argument("--gpu", metavar="N", help="GPU to run on")


def run(args: argparse.Namespace) -> int:
    required("test", args, "model", "weights")

    from caffecompat.cli.common.devices import choose_device

    device, _ = choose_device(args.gpu, None)
    log_scores(args.model, args.weights, args.test_iter, device, args.ap_style)
    return 0


def log_scores(model: str, weights: str, iterations: int, device: torch.device, ap_style: str = "11point") -> None:
    """Log a net's mean outputs over its TEST data, as `caffecompat test` does."""
    import torch

    from caffecompat import glog
    from caffecompat.cli.common.flags import UsageError
    from caffecompat.evaluate.net_scores import evaluate_net
    from caffecompat.layers.detection_scores import AP_VERSIONS
    from caffecompat.solver.outputs import output_texts

    if ap_style not in AP_VERSIONS:
        raise UsageError(f"caffecompat vai_q_caffe test: --ap-style {ap_style}: {', '.join(AP_VERSIONS)}")
    glog.info("Start Test", "vai_q_caffe.cpp:240")
    scores = evaluate_net(model, weight_files(weights), iterations=iterations, device=device, allow_missing=True)
    glog.info(f"Loss: {glog.number(scores.loss)}", "net_test.cpp:415")
    for name, mean in scores.outputs.items():
        for text in output_texts(name, torch.from_numpy(mean)):
            glog.info(text, "net_test.cpp:421")
    for name, found in scores.detections.items():
        glog.info(f"{name} = {glog.number(found.mean(ap_style))}", "net_test.cpp:430")
    glog.info("Test Done!", "net_test.cpp:450")
