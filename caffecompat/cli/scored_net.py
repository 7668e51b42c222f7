"""The net that a verb shows pictures to: its flags, and how it is made of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, TypeVar

from caffecompat import glog
from caffecompat.cli.flags import UsageError, device_flags, split_commas
from caffecompat.cli.picture_flags import preprocess_flags, size_of
from caffecompat.cli.progress import progress_flag

if TYPE_CHECKING:
    from caffecompat.evaluate.scored_net import ScoredNet

__all__ = ["fed_net", "load_weights", "net_flags", "scored_net"]

Kind = TypeVar("Kind", bound="ScoredNet")


def net_flags(parser: argparse.ArgumentParser, instead_of: str) -> None:
    """Add ``--level``, ``--stage``, the flags of pictures, device and progress; and ``--json`` instead of something."""
    parser.add_argument("--level", type=int, metavar="N", help="NetState level")
    parser.add_argument("--stage", default="", metavar="A,B", help="NetState stages")
    parser.add_argument("--json", action="store_true", help=f"one JSON object instead of {instead_of}")
    preprocess_flags(parser)
    device_flags(parser)
    progress_flag(parser)


def scored_net(kind: type[Kind], args: argparse.Namespace, **settings: Any) -> Kind:
    """``--model`` as that kind of net, on the device and for the state and size that the flags say.

    Args:
        settings: of ScoredNet, besides.
    """
    from caffecompat.cli.devices import choose_device

    device, _ = choose_device(args.gpu, args.device)
    return kind(
        args.model, device=device, size=size_of(args), level=args.level, stages=split_commas(args.stage), **settings
    )


def fed_net(kind: type[Kind], args: argparse.Namespace, verb: str, **settings: Any) -> Kind:
    """A net with its ``--weights`` that is fed with pictures.

    Raises:
        UsageError: it reads its own data.
    """
    net = scored_net(kind, args, weights=args.weights, **settings)
    if net.input_shape is None:
        raise UsageError(f"{verb}: {args.model} reads its own data; give a deploy prototxt")
    _warn_of_missing(net, args.weights)
    return net


def load_weights(net: ScoredNet, weights: str) -> None:
    """Load weights, and warn of layers that the file does not have."""
    net.load(weights)
    _warn_of_missing(net, weights)


def _warn_of_missing(net: ScoredNet, weights: str) -> None:
    if net.missing:
        glog.warning(f"{weights} has no weights for: {', '.join(net.missing)}; they stay at initial values")
