"""Flags of the verbs that show a picture to a segmentation net in several sizes, or mirrored."""

from __future__ import annotations

import argparse
from typing import Any

from caffecompat.cli.common.flags import UsageError, add_switch, finite, split_commas

__all__ = ["multi_scale", "multi_scale_flags"]


def multi_scale_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--scales``, ``--flip`` and ``--fit``."""
    parser.add_argument(
        "--scales", metavar="A,B", help="add up the probabilities at these scales, as in 0.5,0.75,1,1.25"
    )
    add_switch(parser, "flip", "add those of the mirrored picture")
    parser.add_argument("--fit", default="warp", metavar="HOW",
                        help="bring a picture to the input's size: warp (resize, default) or pad")  # fmt: skip


def multi_scale(args: argparse.Namespace) -> dict[str, Any]:
    """What the flags say that is not the default, as arguments of `evaluate_segmentation` and `segment`.

    Raises:
        UsageError: a flag has another form.
    """
    if args.fit not in ("warp", "pad"):
        raise UsageError(f"--fit {args.fit}: expected warp or pad")
    said: dict[str, Any] = {}
    if args.scales is not None:
        said["scales"] = _scales(args.scales)
    if args.flip:
        said["flip"] = True
    if args.fit != "warp":
        said["fit"] = args.fit
    return said if said != {"scales": (1.0,)} else {}


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(finite(part) for part in split_commas(text))
    except (ValueError, argparse.ArgumentTypeError):
        scales = ()
    if not scales or min(scales) <= 0:
        raise UsageError(f"--scales {text}: expected numbers above 0, as in 0.5,0.75,1,1.25,1.75")
    return scales
