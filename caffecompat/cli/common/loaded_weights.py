"""Whether the weights that a verb was given are those of its net."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import add_switch

if TYPE_CHECKING:
    from caffecompat.net.weights import LoadReport

__all__ = ["check_loaded", "missing_flag"]


def missing_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow-missing``."""
    add_switch(parser, "allow-missing", "go on though layers that need training get no weights from the file")


def check_loaded(report: LoadReport | None, weights: str, args: argparse.Namespace) -> None:
    """Refuse weights of another net; warn of layers that the file does not have and that do without.

    Raises:
        CaffeCompatError: no layer was loaded; or layers that need training were not, without ``--allow-missing``.
    """
    if report is not None:
        report.check(weights, allow_missing=args.allow_missing)
