"""Flags by which classify.py and detect.py make a net's input of pictures, shared by their verbs."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from caffecompat import glog
from caffecompat.cli.common.flags import UsageError, finite, split_commas
from caffecompat.errors import CaffeCompatError

if TYPE_CHECKING:
    import numpy as np

    from caffecompat.schema import NetDocument

__all__ = [
    "channel_order",
    "load_array",
    "read_factors",
    "read_means",
    "set_mode",
    "take_stated",
    "transformer_flags",
]


def transformer_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--mean_file``, ``--mean``, ``--input_scale``, ``--std``, ``--raw_scale`` and ``--channel_swap``."""
    parser.add_argument("--mean-file", metavar="FILE", help="mean picture (.npy or .binaryproto); its channels' means")
    parser.add_argument(
        "--mean", metavar="A,B,C", help="one mean a channel, in the net's order (default: what its Input states)"
    )
    parser.add_argument("--input-scale", type=finite, default=1.0, metavar="S", help="factor applied after the mean")
    parser.add_argument("--std", metavar="A,B,C", help="what that is divided by: one number a channel, or one")
    parser.add_argument("--raw-scale", type=finite, default=255.0, metavar="S", help="range of pixels before (255)")
    parser.add_argument(
        "--channel-swap", default="2,1,0", metavar="A,B,C", help="order of R, G, B (default 2,1,0: BGR)"
    )


def set_mode(args: argparse.Namespace) -> None:
    """pycaffe's mode from --gpu and --device."""
    from caffecompat import pycaffe
    from caffecompat.cli.common.devices import choose_device

    device, _ = choose_device(args.gpu, args.device)
    if device.type == "cuda":
        pycaffe.set_device(device.index or 0)
        pycaffe.set_mode_gpu()
    else:
        pycaffe.set_mode_cpu()


def channel_order(args: argparse.Namespace) -> list[int]:
    """``--channel_swap`` as numbers."""
    parts = split_commas(args.channel_swap)
    if sorted(parts) != ["0", "1", "2"]:
        raise UsageError(f"--channel_swap {args.channel_swap}: expected an order of 0,1,2, as in 2,1,0")
    return [int(part) for part in parts]


def take_stated(args: argparse.Namespace, document: NetDocument) -> None:
    """Fill in ``--mean``, ``--input_scale``, ``--std`` from the Input layer where no flag says any of them."""
    if args.mean or args.mean_file or args.std or args.input_scale != 1 or args.raw_scale != 255:
        return
    from caffecompat.data.preprocess import stated_preprocess

    stated = stated_preprocess(document.message.layer, document.path)
    if stated is not None:
        args.mean, args.std = (",".join(map(repr, values)) for values in (stated.mean, stated.std))
        args.input_scale = stated.scale
        glog.info(f"pictures are prepared as {document.path} says: {stated}")


def read_means(args: argparse.Namespace, channels: int) -> np.ndarray | None:
    """One mean a channel (C,) from ``--mean`` or ``--mean_file``; None without either.

    Raises:
        CaffeCompatError: the file is none, or has another count of channels.
    """
    import numpy as np

    if args.mean and args.mean_file:
        raise UsageError("take one of --mean and --mean_file")
    if args.mean:
        means = _numbers("mean", args.mean, "104,117,123")
    elif args.mean_file:
        means = _means_of(args.mean_file)
    else:
        return None
    if len(means) not in (1, channels):
        raise UsageError(f"{len(means)} means for the {channels} channel(s) of the net's input")
    each: np.ndarray = np.broadcast_to(means, channels).copy()
    return each


def read_factors(args: argparse.Namespace, channels: int) -> float | np.ndarray:
    """``--input_scale`` divided by ``--std``: a number, or one a channel, (C, 1, 1)."""
    if not args.std:
        return float(args.input_scale)
    std = _numbers("std", args.std, "57.375,57.12,58.395")
    if len(std) not in (1, channels):
        raise UsageError(f"{len(std)} values of --std for the {channels} channel(s) of the net's input")
    if not (std > 0).all():
        raise UsageError(f"--std {args.std}: expected numbers above 0")
    factors: np.ndarray = (args.input_scale / std).reshape(-1, 1, 1)
    return factors


def _numbers(name: str, text: str, example: str) -> np.ndarray:
    """(K,) numbers of a flag."""
    import numpy as np

    try:
        return np.array([float(part) for part in split_commas(text)], np.float32)
    except ValueError:
        raise UsageError(f"--{name} {text}: expected one number a channel, as in {example}") from None


def _means_of(path: str) -> np.ndarray:
    from caffecompat.formats.mean import read_mean

    mean = load_array(path) if path.endswith(".npy") else read_mean(path)
    if mean.ndim not in (1, 3):
        raise CaffeCompatError(f"{path}: a mean of shape {mean.shape}; expected (C, H, W) or (C,)")
    return (mean if mean.ndim == 1 else mean.mean((1, 2), dtype="float64")).astype("float32")


def load_array(path: str) -> np.ndarray:
    """The array of a .npy file."""
    from caffecompat.formats.arrays import read_array

    return read_array(os.path.expanduser(path))
