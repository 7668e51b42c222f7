"""Quantize a net for the DPU: weights and activations on power-of-two grids, calibrated on pictures.

    caffecompat quantize deploy.prototxt net.caffemodel train.txt fixed/
    caffecompat quantize deploy.prototxt net.caffemodel train.txt fixed/ --report val.txt

MODEL is a deploy or train_val prototxt; PICTURES a list (a picture a line), a folder or a database; no labels are
needed, and a hundred or so are enough. Pictures are prepared as the prototxt states, or as the flags say. OUT gets
quantize_train_test.prototxt and .caffemodel, which eval, test and train take, and deploy.prototxt and .caffemodel for
AMD's compiler of Caffe models (vai_c_caffe).

--report scores the net and the quantized one on labeled pictures (mIoU, top-1 and top-5, or mAP; each class), and
measures each layer on pictures of the calibration: signal to noise in decibels, and the share of values that saturate,
worst layer first, in a table and as OUT/layers.png.

--finetune trains the quantized net under a solver whose net has the same layers: gradients pass the grids unchanged,
positions follow the weights and activations. OUT/finetuned gets the same four files; --report has a column more.

Folding of batch normalization, places of the neurons, positions and files are those of Xilinx' vai_q_caffe, whose own
command lines `caffecompat vai_q_caffe` takes. Where that tool computes wrong numbers (batch normalization of grouped
deconvolutions) this does not, and a line says so; --as-original repeats them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from caffecompat.cli.common.fine_tuning import fine_tune
from caffecompat.cli.common.flags import COUNT, UsageError, add_switch, device_flags, weight_files
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.picture_flags import (
    flags_preprocess,
    names_fitting_sizes,
    preprocess_flags,
    size_of,
    states_preprocess,
)
from caffecompat.cli.common.progress import live_line, progress_flag
from caffecompat.cli.common.quantize_flags import quantize_settings, say, settings_flags
from caffecompat.cli.common.quantize_report import check_report_flags, print_report, report_flags

if TYPE_CHECKING:
    import torch

    from caffecompat.quantize.quantizer import Quantized
    from caffecompat.quantize.settings import QuantizeSettings
    from caffecompat.schema import NetDocument

HELP = "8-bit fixed point for the DPU, calibrated on pictures"

_VERB = "caffecompat quantize"
_METHODS = {"overflow": 0, "diffs": 1, "0": 0, "1": 1}


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="MODEL", help="deploy or train_val prototxt")
    parser.add_argument("weights", metavar="WEIGHTS", help="caffemodel, or another file of weights")
    parser.add_argument("pictures", metavar="PICTURES", help="list, folder, LMDB or LevelDB")
    parser.add_argument("output_dir", type=output(), metavar="OUT", help="folder of the results, made if absent")
    parser.add_argument("--method", default="diffs", metavar="M",
                        help="diffs: least squared differences (default); overflow: nothing overflows")  # fmt: skip
    parser.add_argument("--batch", type=COUNT, default=1, metavar="N", help="pictures at a time (default 1)")
    parser.add_argument("--iterations", type=COUNT, metavar="N",
                        help="batches to calibrate on (default: all pictures once, at most 100)")  # fmt: skip
    settings_flags(parser)
    add_switch(parser, "keep-fixed-neuron", "keep FixedNeuron layers in deploy.prototxt (default)", default=True)
    add_switch(parser, "align-concat", "let a Concat's position count for an average pooling that it alone reads "
               "(default); false is the original's NOT_ALIGN_CONCAT", default=True)  # fmt: skip
    add_switch(parser, "as-original", "repeat the numbers that the original tool computes wrongly")
    add_switch(parser, "info", "also write quantize_info.txt, the positions of each layer")
    parser.add_argument("--finetune", metavar="SOLVER",
                        help="then train in fixed point under this solver; results in OUT/finetuned")  # fmt: skip
    report_flags(parser)
    net_flags(parser)
    preprocess_flags(parser)
    device_flags(parser)
    progress_flag(parser)


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    if args.method.lower() not in _METHODS:
        raise UsageError(f"{_VERB}: --method {args.method}: expected diffs or overflow")
    args.method = _METHODS[args.method.lower()]
    check_report_flags(_VERB, args)
    from caffecompat.cli.common.devices import choose_device
    from caffecompat.quantize.from_pictures import quantize_net

    device, _ = choose_device(args.gpu, args.device)
    document, weights = open_model(args, args.model), weight_files(args.weights) or []
    pictures: dict[str, Any] = {
        "preprocess": flags_preprocess(args) if states_preprocess(args) else None, "size": size_of(args),
        "device": device,
    }  # fmt: skip
    settings = quantize_settings(args, align_concat=args.align_concat)
    with live_line(args.iterations or 100, "batches", args.progress) as update:
        done = quantize_net(
            document, weights, args.pictures, args.output_dir, settings, batch=args.batch, iterations=args.iterations,
            info=args.info, on_iteration=lambda count, total: update(count, f"of {total}"), **pictures,
        )  # fmt: skip
    say(done.notes)
    for path in done.files:
        print(f"wrote {path}")
    nets: dict[str, tuple[Any, Any]] = {"float": (document, weights), "quantized": (done.files[0], done.files[1])}
    if args.finetune:
        settings = replace(settings, input_blob=next(iter(done.deployed.text.layer[0].top)))
        done = _finetune(args, document, weights, done, settings, device)
        nets["fine-tuned"] = (done.files[0], done.files[1])
    if args.report:
        print_report(args, nets, done, document, **pictures)
    return 0


def _finetune(
    args: argparse.Namespace, document: NetDocument, weights: list[str], done: Quantized, settings: QuantizeSettings,
    device: torch.device,
) -> Quantized:  # fmt: skip
    """Train under the solver from where the calibration ended; what comes of it, in OUT/finetuned."""
    from caffecompat.quantize.training_net import write_finetuned, write_training_net
    from caffecompat.schema import pb, read_solver
    from caffecompat.solver import Solver
    from caffecompat.solver.nets import net_of_solver

    folder = f"{args.output_dir}/finetuned"
    text, start = write_training_net(net_of_solver(args.finetune, pb.TRAIN), weights, done, folder, settings)
    param = read_solver(args.finetune)
    if not (param.net or param.HasField("net_param")):  # the TEST nets are other files, which are not quantized
        for name in ("test_iter", "test_interval", "test_state"):
            param.ClearField(name)
    for name in ("net_param", "train_net", "train_net_param", "test_net", "test_net_param", "weights"):
        param.ClearField(name)
    param.net, param.snapshot_prefix = text, f"{folder}/train_val"
    solver = Solver(param, path=args.finetune, device=device, weights=start)
    fine_tune(solver, args)
    result = write_finetuned(done, solver.net.blobs_by_layer(), folder, document, settings, info=args.info)
    say(result.notes)
    for path in result.files:
        print(f"wrote {path}")
    return result
