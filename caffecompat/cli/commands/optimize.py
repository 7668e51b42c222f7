"""Merge batch normalization into the convolutions before it, as TI's `caffe optimize` does before quantization.

    caffecompat optimize --model deploy.prototxt --weights net.caffemodel --output optimized.caffemodel

The net keeps its layers: a merged BatchNorm or Scale has parameters that change nothing, so that the same prototxt
takes the new weights (`merge-bn` writes a net without these layers). A convolution without a bias gets one; the
prototxt then needs `bias_term: true` there, and a line says so.
"""

from __future__ import annotations

import argparse

from caffecompat import glog
from caffecompat.cli.common.flags import UsageError, weight_files
from caffecompat.cli.common.loaded_weights import check_loaded, missing_flag
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import output
from caffecompat.wording import few

HELP = "merge batch normalization into convolutions, as TI's 'caffe optimize'"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="FILE", help="the model definition (required)")
    parser.add_argument("--weights", metavar="FILE", help="its weights (required)")
    parser.add_argument("--output", type=output("a file of weights"), metavar="FILE",
                        help="caffemodel to write (required)")  # fmt: skip
    parser.add_argument("--gpu", metavar="N", help="of TI's command lines; the merging takes no GPU")
    net_flags(parser)
    missing_flag(parser)


def run(args: argparse.Namespace) -> int:
    for name in ("model", "weights", "output"):
        if not getattr(args, name):
            raise UsageError(f"caffecompat optimize: needs --{name}")

    from caffecompat.data import make_source
    from caffecompat.deploy.optimize import optimize_net
    from caffecompat.formats import save_caffemodel
    from caffecompat.net import Net
    from caffecompat.schema import pb

    weights = weight_files(args.weights) or []
    net = Net(open_model(args, args.model), pb.TEST, sources=make_source, weights=weights, log=False)
    try:
        check_loaded(net.loaded, args.weights, args)
        done = optimize_net(net)
    finally:
        net.close()
    for convolution, layers in done.merged:
        glog.info(f"Optimizing layer: Convolution {convolution} <- {', '.join(layers)}", "net.cpp:1700")
    if done.new_biases:
        glog.warning(
            f"these convolutions have a bias now; give them bias_term: true in {args.model}: {few(done.new_biases, 20)}"
        )
    save_caffemodel(args.output, done.message, done.blobs, fork=net.fork_choice.stored)
    glog.info(f"changed {len(done.merged)} convolutions; wrote {args.output}", "caffe.cpp:1")
    return 0
