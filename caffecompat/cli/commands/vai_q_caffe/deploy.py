"""Write deploy.prototxt and deploy.caffemodel of a net that was quantized before, also after fine-tuning."""

from __future__ import annotations

import argparse

from caffecompat.cli.common.flags import weight_files
from caffecompat.cli.common.quantize_flags import (
    deploy_flags,
    model_flags,
    other_flags,
    required,
    say,
    say_unused,
    writes_info,
)

HELP = "write the compiler's files of a net that was quantized before"


def add_flags(parser: argparse.ArgumentParser) -> None:
    model_flags(parser)
    deploy_flags(parser)
    other_flags(parser)


def run(args: argparse.Namespace) -> int:
    required("deploy", args, "model", "weights")
    say_unused("deploy", args)

    from caffecompat.quantize.quantizer import deploy_quantized
    from caffecompat.quantize.settings import QuantizeSettings

    settings = QuantizeSettings(input_blob=args.input_blob, keep_fixed_neuron=args.keep_fixed_neuron)
    deployed, files = deploy_quantized(
        args.model, weight_files(args.weights) or [], args.output_dir, settings, info=writes_info()
    )
    say(deployed.info.lines)
    for path in files:
        print(f"wrote {path}")
    return 0
