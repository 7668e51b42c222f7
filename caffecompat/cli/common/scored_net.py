"""The net that a verb shows pictures to: its flags, and how it is made of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, TypeVar

from caffecompat.cli.common.flags import device_flags, weight_files
from caffecompat.cli.common.loaded_weights import check_loaded, missing_flag
from caffecompat.cli.common.net_flags import amp_flag, open_model
from caffecompat.cli.common.net_flags import net_flags as flags_of_net
from caffecompat.cli.common.picture_flags import preprocess_flags, size_of
from caffecompat.cli.common.progress import progress_flag

if TYPE_CHECKING:
    from caffecompat.evaluate.scored_net import ScoredNet

__all__ = ["fed_net", "load_weights", "net_flags", "scored_net"]

Kind = TypeVar("Kind", bound="ScoredNet")


def net_flags(parser: argparse.ArgumentParser, instead_of: str) -> None:
    """Add the flags of a net, of pictures, device and progress; and ``--json`` instead of something."""
    flags_of_net(parser)
    amp_flag(parser)
    parser.add_argument("--json", action="store_true", help=f"one JSON object instead of {instead_of}")
    missing_flag(parser)
    preprocess_flags(parser)
    device_flags(parser)
    progress_flag(parser)


def scored_net(kind: type[Kind], args: argparse.Namespace, *, fed: bool, **settings: Any) -> Kind:
    """``--model`` as that kind of net, on the device and for the state and size that the flags say.

    Args:
        fed: the verb feeds it with pictures; else a net that reads its own data does so.
        settings: of ScoredNet, besides.
    """
    from caffecompat.cli.common.devices import choose_device
    from caffecompat.evaluate.fed_model import fed_model

    device, _ = choose_device(args.gpu, args.device)
    size, model = size_of(args), open_model(args, args.model)
    return kind(fed_model(model, size=size) if fed else model, device=device, size=size, **settings)


def fed_net(kind: type[Kind], args: argparse.Namespace, **settings: Any) -> Kind:
    """A net with its ``--weights`` that is fed with pictures."""
    net = scored_net(kind, args, fed=True, weights=weight_files(args.weights), **settings)
    check_loaded(net.loaded, args.weights, args)
    return net


def load_weights(net: ScoredNet, weights: str, args: argparse.Namespace) -> None:
    """Load weights, which must be those of the net (:func:`check_loaded`)."""
    net.load(weight_files(weights) or ())
    check_loaded(net.loaded, weights, args)
