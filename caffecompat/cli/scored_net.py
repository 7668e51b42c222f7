"""The net that a verb shows pictures to: its flags, and how it is made of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from caffecompat import glog
from caffecompat.cli.flags import device_flags, split_commas, weight_files
from caffecompat.cli.loaded_weights import check_loaded, missing_flag
from caffecompat.cli.picture_flags import preprocess_flags, size_of
from caffecompat.cli.progress import progress_flag
from caffecompat.errors import CaffeCompatError

if TYPE_CHECKING:
    from caffecompat.evaluate.scored_net import ScoredNet
    from caffecompat.schema import NetDocument

__all__ = ["fed_model", "fed_net", "load_weights", "net_flags", "scored_net"]

Kind = TypeVar("Kind", bound="ScoredNet")


def net_flags(parser: argparse.ArgumentParser, instead_of: str) -> None:
    """Add ``--level``, ``--stage``, the flags of pictures, device and progress; and ``--json`` instead of something."""
    parser.add_argument("--level", type=int, metavar="N", help="NetState level")
    parser.add_argument("--stage", default="", metavar="A,B", help="NetState stages")
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
    from caffecompat.cli.devices import choose_device

    device, _ = choose_device(args.gpu, args.device)
    size, stages = size_of(args), split_commas(args.stage)
    model = fed_model(args.model, size=size, level=args.level, stages=stages) if fed else args.model
    return kind(model, device=device, size=size, level=args.level, stages=stages, **settings)


def fed_net(kind: type[Kind], args: argparse.Namespace, **settings: Any) -> Kind:
    """A net with its ``--weights`` that is fed with pictures."""
    net = scored_net(kind, args, fed=True, weights=weight_files(args.weights), **settings)
    check_loaded(net.loaded, args.weights, args)
    return net


def fed_model(
    path: str,
    *,
    size: tuple[int, int] | None = None,
    level: int | None = None,
    stages: Sequence[str] = (),
    probabilities: bool = False,
) -> NetDocument:
    """The net of a prototxt for pictures from outside; of a train_val prototxt the deploy net, which a log line says.

    Args:
        size: (height, width) of the input, where data and prototxt do not say it or instead.
        probabilities: put what the loss applies to its scores (Softmax, Sigmoid) after them.

    Raises:
        CaffeCompatError: the prototxt cannot be read, or the net reads data and nothing says what its input is.
    """
    from caffecompat.deploy.deploy_net import HEADS, DeployError, deploy_net, reads_data
    from caffecompat.schema import NetDocument, open_net

    document = open_net(path)
    if not reads_data(document, level=level, stages=stages):
        return document
    scored = probabilities and any(layer.type in HEADS for layer in document.message.layer)
    head = "softmax" if scored else None
    try:
        deployed = deploy_net(document, size=size, level=level, stages=stages, head=head)
    except DeployError as problem:
        raise CaffeCompatError(f"{path} reads its own data, and no deploy net can be made of it: {problem}") from None
    inputs = ", ".join(f"{blob} {'x'.join(map(str, shape))}" for blob, shape in deployed.inputs.items())
    glog.info(f"{path} reads its own data; pictures go into its deploy net instead, input {inputs}")
    return NetDocument.from_message(deployed.message, path, like=document.fork_choice)


def load_weights(net: ScoredNet, weights: str, args: argparse.Namespace) -> None:
    """Load weights, which must be those of the net (:func:`check_loaded`)."""
    net.load(weight_files(weights) or ())
    check_loaded(net.loaded, weights, args)
