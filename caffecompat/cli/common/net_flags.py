"""The flags that say which net of a prototxt is meant: level, stages, and settings changed on the way."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from caffecompat import glog
from caffecompat.cli.common.flags import INT32, split_commas

if TYPE_CHECKING:
    from caffecompat.net import Net
    from caffecompat.schema import NetDocument

__all__ = ["amp_flag", "log_precision", "net_flags", "open_model"]


def net_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--level``, ``--stage`` and ``--set``."""
    parser.add_argument("--level", type=INT32, metavar="N", help="NetState level")
    parser.add_argument("--stage", default="", metavar="A,B", help="NetState stages: layers that are included by them")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings",
                        help="change a layer's field, as in ip2.inner_product_param.num_output=10; 'fc*' and "
                        "'@InnerProduct' name layers by a pattern and by type")  # fmt: skip


def amp_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--amp`` to a verb whose net computes for its own sake."""
    parser.add_argument("--amp", choices=("bf16", "fp16"),
                        help="layers compute in 16 bits, as default_forward_type: BFLOAT16 (FLOAT16) says; weights, "
                        "normalization, losses and scores stay in 32")  # fmt: skip


def log_precision(net: Net) -> None:
    """Say which of a net's layers compute in 16 bits, where any does."""
    from caffecompat.net.precision import precision_text

    text = precision_text(net.layers, net.device)
    if text:
        glog.info(text)


def open_model(args: argparse.Namespace, path: str, *, strict: bool = False, networks: bool = False) -> NetDocument:
    """The net of a prototxt, or of a solver's, as the flags of `net_flags` and `amp_flag` want it.

    Level and stages are put into its own state.

    Args:
        networks: whether `path` may be the name of a network of the zoo, where there is no such file.

    Raises:
        CaffeCompatError: the file cannot be read, or ``--set`` names no field of it.
    """
    from caffecompat.cli.common.zoo_names import file_or_network
    from caffecompat.schema import as_document

    source = file_or_network(path) if networks else path
    document = _open(source, getattr(args, "phase", ""), strict) if isinstance(source, str) else as_document(source)
    if args.settings:
        from caffecompat.solver.overrides import LayerSettings

        settings = LayerSettings(args.settings)
        settings.apply(document)
        settings.check_all_used()
    if getattr(args, "amp", None):
        from caffecompat.net.precision import with_amp

        document = with_amp(document, args.amp)
    state = document.message.state
    if args.level is not None:
        state.level = args.level
    state.stage.extend(stage for stage in split_commas(args.stage) if stage not in state.stage)
    return document


def _open(path: str, phase: str, strict: bool) -> NetDocument:
    from caffecompat.schema import PrototxtError, open_net, pb
    from caffecompat.schema.document import kind_of

    try:
        return open_net(path, strict=strict)
    except PrototxtError:
        if not os.path.isfile(path) or kind_of(path) != "solver":
            raise
    from caffecompat.solver.nets import net_of_solver

    return net_of_solver(path, pb.TRAIN if phase.upper() == "TRAIN" else pb.TEST, strict=strict)
