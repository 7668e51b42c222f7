"""Train a quantized net under its solver, as `caffecompat train` does, with the fixed point in every pass.

The solver's net is quantize_train_test.prototxt, with losses. Gradients pass the grid unchanged; positions follow the
weights and the activations. `caffecompat vai_q_caffe deploy` makes the compiler's files of the result.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.quantize_flags import other_flags, required, say_unused

HELP = "train a quantized net under its solver"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--solver", metavar="FILE", help="the solver's prototxt (required)")
    parser.add_argument("--weights", metavar="FILE", help="weights to start from, as quantize writes them (required)")
    parser.add_argument("--gpu", metavar="N", help="GPU to run on")
    other_flags(parser)


def run(args: argparse.Namespace) -> int:
    required("finetune", args, "solver", "weights")
    say_unused("finetune", args)

    from caffecompat.cli.verbs import parser_of, verb_module

    words = ["--solver", args.solver, "--weights", args.weights, *(["--gpu", args.gpu] if args.gpu else [])]
    given = parser_of("train").parse_args(words)
    given.command_line = ["train", *words]  # that several processes run
    return int(verb_module("train").run(given))
