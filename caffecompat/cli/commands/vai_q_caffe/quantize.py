"""Fold, place neurons, calibrate on the TRAIN data, and write four files.

OUTPUT_DIR gets quantize_train_test.prototxt and .caffemodel, the net to test and fine-tune, and deploy.prototxt and
.caffemodel for the compiler. Where the original's numbers are wrong (weights of grouped deconvolutions with batch
normalization) a line says so; they are repeated here, and right with --noas-original.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.flags import COUNT, INT32, UsageError, add_switch
from caffecompat.cli.common.progress import live_line, progress_flag
from caffecompat.cli.common.quantize_flags import (
    aligns_concat,
    check_score_flags,
    deploy_flags,
    model_flags,
    other_flags,
    quantize_settings,
    required,
    say,
    say_unused,
    score_flags,
    settings_flags,
    writes_info,
)  # fmt: skip

HELP = "calibrate a floating-point net and write its fixed-point files"


def add_flags(parser: argparse.ArgumentParser) -> None:
    model_flags(parser)
    deploy_flags(parser)
    settings_flags(parser)
    parser.add_argument("--calib-iter", type=COUNT, default=100, metavar="N", help="batches to calibrate on (100)")
    add_switch(parser, "auto-test", "score the quantized net on its TEST data afterwards")
    score_flags(parser)
    parser.add_argument("--gpu", metavar="N", help="GPU to run on")
    parser.add_argument("--method", type=INT32, default=1, metavar="M", help="0 no overflow, 1 least differences (1)")
    add_switch(parser, "as-original", "repeat the original's mistakes in numbers (default)", default=True)
    progress_flag(parser)
    other_flags(parser)


def run(args: argparse.Namespace) -> int:
    required("quantize", args, "model", "weights")
    check_score_flags("quantize", args)
    say_unused("quantize", args)

    from caffecompat import glog
    from caffecompat.cli.common.devices import choose_device
    from caffecompat.cli.common.flags import weight_files
    from caffecompat.quantize.quantizer import quantize_stated

    settings = quantize_settings(
        args, align_concat=aligns_concat(), input_blob=args.input_blob, calib_iter=args.calib_iter
    )
    weights = weight_files(args.weights)
    if not weights:
        raise UsageError("caffecompat vai_q_caffe quantize: --weights is empty")
    device, _ = choose_device(args.gpu, None)
    glog.info("Start Calibration", "vai_q_caffe.cpp:182")
    with live_line(settings.calib_iter, "batches", args.progress) as update:
        done = quantize_stated(
            args.model, weights, args.output_dir, settings, info=writes_info(), device=device,
            on_iteration=lambda count: update(count, ""),
        )  # fmt: skip
    say(done.notes)
    if args.auto_test:
        from caffecompat.cli.commands.vai_q_caffe.test import log_scores

        text, model = done.files[:2]
        log_scores(text, model, args, device)
    for path in done.files:
        print(f"wrote {path}")
    return 0
