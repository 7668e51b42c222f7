"""Set small weights of convolutions to zero, as TI's `caffe threshold` does before sparse training.

    caffecompat threshold --threshold_fraction_low 0.40 --threshold_fraction_mid 0.80 --threshold_fraction_high 0.80 \\
        --threshold_value_max 0.2 --threshold_value_maxratio 0.2 --threshold_step_factor 1e-6 \\
        --model deploy.prototxt --gpu 0 --weights net.caffemodel --output sparse.caffemodel

Convolutions of 32 inputs or outputs and fewer groups than outputs get one threshold each: the largest that makes at
most this fraction of their weights zero and is below both bounds. `sparsify` does this to a target of the whole net, by
a threshold a layer or a channel; a solver with `sparse_mode: SPARSE_UPDATE` trains on with the zeros frozen.
"""

from __future__ import annotations

import argparse

from caffecompat import glog
from caffecompat.cli.common.flags import UsageError, finite, weight_files
from caffecompat.cli.common.loaded_weights import check_loaded, missing_flag
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import output

HELP = "small weights of convolutions set to zero, as TI's 'caffe threshold'"

_FLAGS = {  # and the values in TI's scripts
    "fraction_low": (0.4, "zeros of layers with less than 32 inputs or less than 32 outputs"),
    "fraction_mid": (0.8, "zeros of other layers"),
    "fraction_high": (0.8, "zeros of layers of 256 inputs and 512 outputs"),
    "value_max": (0.2, "thresholds are below this"),
    "value_maxratio": (0.2, "and below this part of the layer's largest weight"),
    "step_factor": (1e-6, "thresholds are multiples of this part of it"),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", metavar="FILE", help="the model definition (required)")
    parser.add_argument("--weights", metavar="FILE", help="its weights (required)")
    parser.add_argument("--output", type=output("a file of weights"), metavar="FILE",
                        help="caffemodel to write (required)")  # fmt: skip
    for name, (value, text) in _FLAGS.items():
        parser.add_argument(f"--threshold-{name.replace('_', '-')}", type=finite, default=value, metavar="X",
                            help=f"{text} ({value:g})")  # fmt: skip
    parser.add_argument("--gpu", metavar="N", help="of TI's command lines; thresholding takes no GPU")
    net_flags(parser)
    missing_flag(parser)


def run(args: argparse.Namespace) -> int:
    for name in ("model", "weights", "output"):
        if not getattr(args, name):
            raise UsageError(f"caffecompat threshold: needs --{name}")

    from caffecompat.data.placeholder import Placeholders
    from caffecompat.net import Net
    from caffecompat.quantize.threshold import ThresholdSettings, threshold_net
    from caffecompat.schema import pb
    from caffecompat.solver.sparsity import log_sparsity

    settings = ThresholdSettings(**{name: getattr(args, f"threshold_{name}") for name in _FLAGS})
    weights = weight_files(args.weights) or []
    net = Net(
        open_model(args, args.model), pb.TEST, sources=Placeholders(), weights=weights, log=False, quantized=False
    )
    net.close()
    check_loaded(net.loaded, args.weights, args)
    done = threshold_net(net, settings)
    for one in done:
        layer = one.layer
        glog.info(f"{layer.name} ni={layer.inputs} no={layer.outputs}")
        if one.threshold is not None:
            glog.info(
                f"{layer.name} MaxAbsWeight={glog.number(one.largest)} MaxThreshold={glog.number(one.bound)} "
                f"SelectedThreshold={glog.number(one.threshold)} ZeroPercentage={glog.number(100 * one.zeros)}"
            )
    log_sparsity([one.layer for one in done])
    net.save(args.output)
    glog.info(f"wrote {args.output}")
    return 0
