"""Time a model's forward and backward pass, in all and layer by layer, as `caffe time` does.

caffecompat time --model deploy.prototxt --iterations 20
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from caffecompat import glog
from caffecompat.cli.common.flags import (
    COUNT,
    UsageError,
    add_switch,
    device_flags,
    loader_threads_flag,
    weight_files,
)
from caffecompat.cli.common.net_flags import amp_flag, log_precision, net_flags, open_model

if TYPE_CHECKING:
    from caffecompat.report.net_timing import NetTimes

HELP = "time a model's forward and backward pass, layer by layer"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="FILE", help="the model definition (required)")
    parser.add_argument("--weights", metavar="FILE", help="weights to load; the time does not depend on them")
    parser.add_argument("--iterations", type=COUNT, default=50, metavar="N", help="passes to run (default 50)")
    parser.add_argument("--phase", default="TRAIN", metavar="P", help="TRAIN (default) or TEST")
    net_flags(parser)
    amp_flag(parser)
    add_switch(parser, "strict", "unknown fields in the prototxt are errors")
    device_flags(parser)
    loader_threads_flag(parser)


def run(args: argparse.Namespace) -> int:
    if not args.model:
        raise UsageError("caffecompat time: needs --model")
    if args.phase.upper() not in ("TRAIN", "TEST"):
        raise UsageError(f"caffecompat time: --phase {args.phase}: TRAIN or TEST")

    from caffecompat.cli.common.devices import choose_device
    from caffecompat.data import make_source
    from caffecompat.net import Net
    from caffecompat.report.net_timing import time_net

    device, _ = choose_device(args.gpu, args.device)
    document = open_model(args, args.model, strict=args.strict)
    weights = weight_files(args.weights or None)
    net = Net(document, args.phase, sources=make_source, weights=weights)
    if net.loaded:
        net.loaded.describe_missing(args.weights)
    log_precision(net.to(device))
    glog.info("Performing Forward", "caffe.cpp:351")

    def on_start(loss: float) -> None:
        glog.info(f"Initial loss: {glog.number(loss)}", "caffe.cpp:356")
        glog.info("Performing Backward", "caffe.cpp:357")
        glog.info("*** Benchmark begins ***", "caffe.cpp:365")
        glog.info(f"Testing for {args.iterations} iterations.", "caffe.cpp:366")

    def on_iteration(done: int, spent: float) -> None:
        glog.info(f"Iteration: {done} forward-backward time: {glog.number(spent)} ms.", "caffe.cpp:394")

    times = time_net(net, iterations=args.iterations, on_start=on_start, on_iteration=on_iteration)
    _report(times, args.iterations)
    return 0


def _report(times: NetTimes, iterations: int) -> None:
    glog.info("Average time per layer: ", "caffe.cpp:397")
    for layer in times.layers:
        glog.info(f"{layer.name:>10}\tforward: {glog.number(layer.forward)} ms.", "caffe.cpp:400")
        glog.info(f"{layer.name:>10}\tbackward: {glog.number(layer.backward)} ms.", "caffe.cpp:403")
    glog.info(f"Average Forward pass: {glog.number(times.forward)} ms.", "caffe.cpp:408")
    glog.info(f"Average Backward pass: {glog.number(times.backward)} ms.", "caffe.cpp:410")
    glog.info(f"Average Forward-Backward: {glog.number(times.total / iterations)} ms.", "caffe.cpp:412")
    glog.info(f"Total Time: {glog.number(times.total)} ms.", "caffe.cpp:414")
    glog.info("*** Benchmark ends ***", "caffe.cpp:415")
