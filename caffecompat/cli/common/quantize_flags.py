"""Flags of the verbs that quantize, as vai_q_caffe names them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import COUNT, INT32, UsageError, add_switch, split_commas
from caffecompat.cli.common.outputs import output

if TYPE_CHECKING:
    from caffecompat.quantize.settings import QuantizeSettings

__all__ = [
    "aligns_concat", "check_score_flags", "deploy_flags", "model_flags", "other_flags", "quantize_settings", "required",
    "say", "say_unused", "score_flags", "settings_flags", "writes_info",
]  # fmt: skip


def model_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--model`` and ``--weights``."""
    parser.add_argument("--model", metavar="FILE", help="the net's prototxt, with its data layers (required)")
    parser.add_argument("--weights", metavar="FILE", help="its weights (required)")


def deploy_flags(parser: argparse.ArgumentParser) -> None:
    """Add what concerns the files for the compiler."""
    parser.add_argument("--output-dir", type=output(), default="./quantize_results", metavar="DIR",
                        help="where files are written")  # fmt: skip
    parser.add_argument("--input-blob", default="data", metavar="BLOB", help="blob that pictures come in (data)")
    add_switch(parser, "keep-fixed-neuron", "keep FixedNeuron layers in deploy.prototxt (default)", default=True)


def settings_flags(parser: argparse.ArgumentParser) -> None:
    """Add bits, and the layers with rules of their own."""
    parser.add_argument("--data-bit", type=INT32, default=8, metavar="N", help="bits of activations (8)")
    parser.add_argument("--weights-bit", type=INT32, default=8, metavar="N", help="bits of weights and biases (8)")
    parser.add_argument("--ignore-layers", default="", metavar="A,B", help="layers that stay in floating point")
    parser.add_argument(
        "--ignore-layers-file", metavar="FILE", help='the same: lines of ignore_layer: "A", or of names'
    )
    parser.add_argument("--special-layers", default="", metavar="A,D[,W]", help="layers with bits of their own")
    parser.add_argument("--sigmoided-layers", default="", metavar="A,B", help="layers that a sigmoid follows")


def score_flags(parser: argparse.ArgumentParser) -> None:
    """Add what concerns the score on the TEST data."""
    parser.add_argument("--test-iter", type=COUNT, default=50, metavar="N", help="batches to score (default 50)")
    parser.add_argument("--net-type", default="", metavar="T",
                        help="segmentation (IoU of each class, and mIoU), detection (mAP); else: means")  # fmt: skip
    parser.add_argument("--seg-metric", default="classIOU", metavar="M", help="of segmentation: classIOU, the only one")
    parser.add_argument("--seg-class-num", type=COUNT, metavar="N", help="classes of segmentation (default: the net's)")
    parser.add_argument("--ap-style", default="11point", metavar="V", help="of mAP: 11point, MaxIntegral, Integral")


_VALUES = (
    "model", "weights", "solver", "output-dir", "input-blob", "method", "data-bit", "weights-bit", "calib-iter",
    "ignore-layers", "ignore-layers-file", "special-layers", "sigmoided-layers", "test-iter", "net-type", "seg-metric",
    "seg-class-num", "ap-style", "gpu",
)  # fmt: skip
_SWITCHES = ("auto-test", "keep-fixed-neuron")


def other_flags(parser: argparse.ArgumentParser) -> None:
    """Take the flags of the other commands, too, as the original's commands share all of theirs; call it last."""
    for name in (*_VALUES, *_SWITCHES):
        if f"--{name}" in parser._option_string_actions:
            continue
        if name in _SWITCHES:
            add_switch(parser, name, argparse.SUPPRESS)
        else:
            parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
        parser.set_defaults(unused=[*(parser.get_default("unused") or ()), name])


def say_unused(command: str, args: argparse.Namespace) -> None:
    """Warn of flags that the command takes without effect."""
    given = [f"-{name.replace('-', '_')}" for name in args.unused if getattr(args, name.replace("-", "_"))]
    if given:
        say([f"vai_q_caffe {command}: {', '.join(given)}: without effect on this command"])


def check_score_flags(command: str, args: argparse.Namespace) -> None:
    """Refuse values of the score flags that mean nothing, before anything is computed.

    Raises:
        UsageError: one has no such value.
    """
    from caffecompat.layers.detection_scores import AP_VERSIONS

    for flag, known in (
        ("net-type", ("", "segmentation", "detection")), ("seg-metric", ("classIOU",)), ("ap-style", AP_VERSIONS),
    ):  # fmt: skip
        value = getattr(args, flag.replace("-", "_"))
        if value not in known:
            expected = ", ".join(name or "nothing" for name in known)
            raise UsageError(f"caffecompat vai_q_caffe {command}: --{flag} {value}: expected {expected}")


def quantize_settings(
    args: argparse.Namespace, *, align_concat: bool, input_blob: str = "data", calib_iter: int = 100
) -> QuantizeSettings:
    """What the flags of :func:`settings_flags` say, with ``--method``; the rest is given.

    Raises:
        CaffeCompatError: a value is out of range, or the file of layers cannot be read.
    """
    from caffecompat.quantize.settings import QuantizeSettings, parse_special_layers

    ignored = split_commas(args.ignore_layers)
    if args.ignore_layers_file:
        from caffecompat.quantize.settings import read_ignored_layers

        ignored += read_ignored_layers(args.ignore_layers_file)
    return QuantizeSettings(
        method=args.method,
        data_bits=args.data_bit,
        weights_bits=args.weights_bit,
        calib_iter=calib_iter,
        ignore_layers=ignored,
        sigmoided_layers=split_commas(args.sigmoided_layers),
        special_layers=parse_special_layers(args.special_layers, args.data_bit),
        input_blob=input_blob,
        keep_fixed_neuron=args.keep_fixed_neuron,
        align_concat=align_concat,
        as_original=args.as_original,
    )


def writes_info() -> bool:
    """Whether the environment's DECENT_DEBUG asks for quantize_info.txt."""
    return _is_set("DECENT_DEBUG")


def aligns_concat() -> bool:
    """Whether the environment's NOT_ALIGN_CONCAT leaves average poolings before a Concat without neurons."""
    return not _is_set("NOT_ALIGN_CONCAT")


def _is_set(name: str) -> bool:
    """Whether a variable of the environment is a number above 0."""
    text = os.environ.get(name, "0")
    return text.strip().lstrip("0").isdecimal()


def required(command: str, args: argparse.Namespace, *names: str) -> None:
    """Refuse a command without one of its flags.

    Raises:
        UsageError: one is missing or empty.
    """
    for name in names:
        if not getattr(args, name):
            raise UsageError(f"caffecompat vai_q_caffe {command}: needs -{name}")


def say(notes: Iterable[str]) -> None:
    """Log what a user should know."""
    from caffecompat import glog

    for note in notes:
        glog.warning(note)
