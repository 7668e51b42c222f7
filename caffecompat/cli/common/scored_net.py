"""The net that a verb shows pictures to: its flags, and how it is made of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, TypeVar

from caffecompat import glog
from caffecompat.cli.common.flags import (
    UsageError,
    add_switch,
    device_flags,
    loader_threads_flag,
    weight_files,
)
from caffecompat.cli.common.loaded_weights import check_loaded, missing_flag
from caffecompat.cli.common.net_flags import amp_flag, log_precision, open_model
from caffecompat.cli.common.net_flags import net_flags as flags_of_net
from caffecompat.cli.common.picture_flags import preprocess_flags, size_of
from caffecompat.cli.common.progress import progress_flag

if TYPE_CHECKING:
    from caffecompat.deploy.inference.inference_net import Engine
    from caffecompat.evaluate.scored_net import ScoredNet

__all__ = ["engine_flag", "fed_net", "is_onnx", "load_weights", "net_flags", "onnx_flag", "scored_net"]

Kind = TypeVar("Kind", bound="ScoredNet")


def net_flags(parser: argparse.ArgumentParser, instead_of: str) -> None:
    """Add the flags of a net, of pictures, device and progress; and ``--json`` instead of something."""
    flags_of_net(parser)
    amp_flag(parser)
    parser.add_argument("--json", action="store_true", help=f"one JSON object instead of {instead_of}")
    missing_flag(parser)
    preprocess_flags(parser)
    device_flags(parser)
    engine_flag(parser)
    loader_threads_flag(parser)
    progress_flag(parser)


def engine_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--engine``."""
    parser.add_argument("--engine", choices=("auto", "torch", "onnxruntime"),
                        help="what computes the net, with batch normalization folded: torch; onnxruntime, on CPUs; or "
                        "auto, the one that measurements of similar nets expect to be faster (default)")  # fmt: skip


def onnx_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--rgb``, of verbs that take an ONNX file as ``--model``."""
    add_switch(parser, "rgb", "of an ONNX file that does not say it: its channels are R, G, B", default=None)


def is_onnx(model: str | None) -> bool:
    """Whether ``--model`` names an ONNX file, by its ending."""
    return model is not None and model.lower().endswith(".onnx")


def scored_net(kind: type[Kind], args: argparse.Namespace, *, fed: bool, **settings: Any) -> Kind:
    """``--model`` as that kind of net, on the device and for the state and size that the flags say.

    Args:
        fed: the verb feeds it with pictures; else a net that reads its own data does so.
        settings: of ScoredNet, besides.
    """
    if is_onnx(args.model):
        return _onnx_net(kind, args, **settings)
    if getattr(args, "rgb", None) is not None:
        raise UsageError(f"--rgb is for ONNX files; {args.model} takes B, G, R")
    from caffecompat.cli.common.devices import choose_device
    from caffecompat.evaluate.fed_model import fed_model

    device, _ = choose_device(args.gpu, args.device)
    size, model = size_of(args), open_model(args, args.model)
    engine: Engine = args.engine or "auto"
    net = kind(fed_model(model, size=size) if fed else model, device=device, size=size, engine=engine, **settings)
    log_precision(net.net)
    return net


def _onnx_net(kind: type[Kind], args: argparse.Namespace, **settings: Any) -> Kind:
    """``--model net.onnx`` as that kind of net."""
    from caffecompat.evaluate.onnx_nets import onnx_net

    for flag, given in (
        ("--set", args.settings), ("--level", args.level is not None), ("--stage", args.stage), ("--amp", args.amp),
    ):  # fmt: skip
        if given:
            raise UsageError(f"{flag} is for prototxts; {args.model} is an ONNX file")
    if args.engine == "torch":
        raise UsageError(f"--engine torch: onnxruntime computes ONNX files such as {args.model}")
    if args.gpu or args.device not in (None, "", "cpu"):
        glog.warning(f"{args.model}: onnxruntime computes it on the CPU, whatever --gpu and --device say")
    return onnx_net(kind, args.model, size=size_of(args), rgb=args.rgb, **settings)


def fed_net(kind: type[Kind], args: argparse.Namespace, **settings: Any) -> Kind:
    """A net with its ``--weights``, or an ONNX file, that is fed with pictures."""
    if is_onnx(args.model):
        if args.weights:
            raise UsageError(f"{args.model} has its weights in it: leave --weights out")
        return _onnx_net(kind, args, **settings)
    net = scored_net(kind, args, fed=True, weights=weight_files(args.weights), **settings)
    check_loaded(net.loaded, args.weights, args)
    return net


def load_weights(net: ScoredNet, weights: str | None, args: argparse.Namespace) -> None:
    """Load weights, which must be those of the net (:func:`check_loaded`); none are given for an ONNX file."""
    if weights is None:
        return
    net.load(weight_files(weights) or ())
    check_loaded(net.loaded, weights, args)
