"""Time a model's forward and backward pass, in all and layer by layer, as `caffe time` does.

caffecompat time --model deploy.prototxt --iterations 20
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from caffecompat import glog
from caffecompat.cli.common.flags import UsageError, add_switch, device_flags, split_commas, weight_files

if TYPE_CHECKING:
    from caffecompat.pycaffe import Net

HELP = "time a model's forward and backward pass, layer by layer"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="FILE", help="the model definition (required)")
    parser.add_argument("--weights", metavar="FILE", help="weights to load; the time does not depend on them")
    parser.add_argument("--iterations", type=int, default=50, metavar="N", help="passes to run (default 50)")
    parser.add_argument("--phase", default="TRAIN", metavar="P", help="TRAIN (default) or TEST")
    parser.add_argument("--level", type=int, default=0, metavar="N", help="NetState level")
    parser.add_argument("--stage", default="", metavar="A,B", help="NetState stages")
    add_switch(parser, "strict", "unknown fields in the prototxt are errors")
    device_flags(parser)


def run(args: argparse.Namespace) -> int:
    if not args.model:
        raise UsageError("caffecompat time: needs --model")
    if args.iterations < 1:
        raise UsageError(f"caffecompat time: --iterations {args.iterations} must be at least 1")
    if args.phase.upper() not in ("TRAIN", "TEST"):
        raise UsageError(f"caffecompat time: --phase {args.phase}: TRAIN or TEST")

    import torch

    from caffecompat import pycaffe
    from caffecompat.cli.common.devices import choose_device
    from caffecompat.data import make_source
    from caffecompat.net import Net
    from caffecompat.schema import open_net, pb

    device, _ = choose_device(args.gpu, args.device)
    document = open_net(args.model, strict=args.strict)
    phase = pb.TRAIN if args.phase.upper() == "TRAIN" else pb.TEST
    stages = split_commas(args.stage)
    core = Net(
        document,
        phase,
        level=args.level,
        stages=stages,
        sources=make_source,
        weights=weight_files(args.weights or None),
    )
    if core.loaded:
        core.loaded.describe_missing(args.weights)
    net = pycaffe.Net._of(core.to(device))
    wait = torch.cuda.synchronize if device.type == "cuda" else _nothing
    _benchmark(net, args.iterations, wait)
    return 0


def _nothing() -> None:
    """Computation on the CPU is finished when the call returns."""


def _benchmark(net: Net, iterations: int, wait: Callable[[], None]) -> None:
    glog.info("Performing Forward", "caffe.cpp:351")
    loss = net._forward(0, len(net.layers) - 1)
    glog.info(f"Initial loss: {glog.number(loss)}", "caffe.cpp:356")
    glog.info("Performing Backward", "caffe.cpp:357")
    net._backward(len(net.layers) - 1, 0)
    glog.info("*** Benchmark begins ***", "caffe.cpp:365")
    glog.info(f"Testing for {iterations} iterations.", "caffe.cpp:366")
    count = len(net.layers)
    forward, backward = [0.0] * count, [0.0] * count
    whole_forward = whole_backward = 0.0
    begun = time.perf_counter()
    for iteration in range(iterations):
        start = time.perf_counter()
        for i in range(count):
            forward[i] += _milliseconds(net._forward, i, wait)
        middle = time.perf_counter()
        for i in reversed(range(count)):
            backward[i] += _milliseconds(net._backward, i, wait)
        end = time.perf_counter()
        whole_forward += (middle - start) * 1000
        whole_backward += (end - middle) * 1000
        spent = glog.number((end - start) * 1000)
        glog.info(f"Iteration: {iteration + 1} forward-backward time: {spent} ms.", "caffe.cpp:394")
    total = (time.perf_counter() - begun) * 1000
    _report(net, iterations, forward, backward)
    each_forward, each_backward = whole_forward / iterations, whole_backward / iterations
    glog.info(f"Average Forward pass: {glog.number(each_forward)} ms.", "caffe.cpp:408")
    glog.info(f"Average Backward pass: {glog.number(each_backward)} ms.", "caffe.cpp:410")
    glog.info(f"Average Forward-Backward: {glog.number(total / iterations)} ms.", "caffe.cpp:412")
    glog.info(f"Total Time: {glog.number(total)} ms.", "caffe.cpp:414")
    glog.info("*** Benchmark ends ***", "caffe.cpp:415")


def _milliseconds(run_layers: Callable[[int, int], object], index: int, wait: Callable[[], None]) -> float:
    start = time.perf_counter()
    run_layers(index, index)
    wait()
    return (time.perf_counter() - start) * 1000


def _report(net: Net, iterations: int, forward: list[float], backward: list[float]) -> None:
    glog.info("Average time per layer: ", "caffe.cpp:397")
    for name, ahead, back in zip(net._layer_names, forward, backward, strict=True):
        glog.info(f"{name:>10}\tforward: {glog.number(ahead / iterations)} ms.", "caffe.cpp:400")
        glog.info(f"{name:>10}\tbackward: {glog.number(back / iterations)} ms.", "caffe.cpp:403")
