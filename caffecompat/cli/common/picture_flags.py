"""Flags of the verbs that feed pictures to a net."""

from __future__ import annotations

import argparse
import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import UsageError, finite, split_commas
from caffecompat.errors import CaffeCompatError

if TYPE_CHECKING:
    from caffecompat.data.preprocess import Preprocess
    from caffecompat.evaluate.scored_net import ScoredNet
    from caffecompat.net import Net

__all__ = [
    "flags_preprocess", "names_fitting_sizes", "parse_size", "preprocess_flags", "preprocess_of", "size_of",
    "states_preprocess",
]  # fmt: skip


def preprocess_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--mean``, ``--scale``, ``--std``, ``--subtract`` and ``--size``."""
    parser.add_argument(
        "--mean", metavar="B,G,R",
        help="subtracted from each pixel first (default: what the prototxt's Input states as transform_param)",
    )  # fmt: skip
    parser.add_argument("--scale", type=finite, default=1.0, metavar="S", help="what that is multiplied by (default 1)")
    parser.add_argument("--std", metavar="B,G,R", help="what that is divided by, as std_value of transform_param")
    parser.add_argument("--subtract", metavar="B,G,R", help="subtracted after the scaling: pixel * scale - subtract")
    parser.add_argument("--size", metavar="WxH", help="input size instead of the prototxt's, as in 1024x512")


def states_preprocess(args: argparse.Namespace) -> bool:
    """Whether one of ``--mean``, ``--scale``, ``--std`` and ``--subtract`` is given."""
    return not (args.mean is args.std is args.subtract is None) or args.scale != 1


def preprocess_of(args: argparse.Namespace, net: Net | ScoredNet) -> Preprocess:
    """What the flags say, else what the net does: the transform_param of its Input layer, an ONNX file's metadata."""
    from caffecompat.data.preprocess import choose_preprocess
    from caffecompat.evaluate.scored_net import ScoredNet

    given = flags_preprocess(args) if states_preprocess(args) else None
    if isinstance(net, ScoredNet):
        return net.choose_preprocess(given)
    return choose_preprocess([layer.param for layer in net.layers], args.model, given)


def flags_preprocess(args: argparse.Namespace) -> Preprocess:
    """What the flags say."""
    from caffecompat.data.preprocess import Preprocess

    mean, subtract, std = (_numbers(name, getattr(args, name)) for name in ("mean", "subtract", "std"))
    return Preprocess(mean, args.scale, subtract, std)


def size_of(args: argparse.Namespace) -> tuple[int, int] | None:
    """(height, width) of ``--size``."""
    return parse_size(args.size, "size")


def parse_size(text: str | None, name: str) -> tuple[int, int] | None:
    """(height, width) of a flag's WIDTHxHEIGHT; None where it was not given."""
    if not text:
        return None
    width, _, height = text.lower().partition("x")
    if not re.fullmatch("0*[1-9][0-9]{0,4}x0*[1-9][0-9]{0,4}", f"{width}x{height}"):
        raise UsageError(f"--{name} {text}: expected WIDTHxHEIGHT, as in 1024x512, each below 100000")
    return int(height), int(width)


def _numbers(name: str, text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(f"--{name} {text}: expected one number, or one a channel: B,G,R") from None


def names_fitting_sizes(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Decorate the ``run`` of a verb with ``--model`` and ``--size``: its error says which sizes the net works on."""

    @functools.wraps(run)
    def wrapper(args: argparse.Namespace) -> int:
        try:
            return run(args)
        except UsageError:
            raise
        except CaffeCompatError as problem:
            hint = _fitting_sizes(args)
            if not hint:
                raise
            raise CaffeCompatError(f"{problem}\n--size {args.size}: {hint}") from problem

    return wrapper


def _fitting_sizes(args: argparse.Namespace) -> str:
    size = size_of(args)
    if size is None:
        return ""
    from caffecompat.deploy.input_size import fitting_sizes
    from caffecompat.schema import open_net

    try:
        document = open_net(args.model)
    except CaffeCompatError:
        return ""
    stages = split_commas(getattr(args, "stage", ""))
    return fitting_sizes(document, size, level=getattr(args, "level", None), stages=stages)
