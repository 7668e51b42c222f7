"""Verbs of several parts: ``lmdb build`` is the module commands/lmdb/build.py."""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType

__all__ = ["Group"]


class Group:
    """What a group's ``__init__`` takes for the `add_flags` and `run` that every verb has: those of its parts.

    Args:
        package: of the parts' modules, the group's own name.
        parts: their names, in the order of the help page.
    """

    def __init__(self, package: str, *parts: str) -> None:
        self._package, self._parts = package, parts

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        """Add the parts, each with its own flags."""
        parts = parser.add_subparsers(dest="part", metavar="|".join(self._parts), required=True)
        for part in self._parts:
            module = self._module(part)
            module.add_flags(parts.add_parser(part, help=module.HELP, description=module.__doc__))

    def run(self, args: argparse.Namespace) -> int:
        """Run the part that was named; returns its exit status."""
        return int(self._module(args.part).run(args))

    def _module(self, part: str) -> ModuleType:
        return importlib.import_module(f"{self._package}.{part.replace('-', '_')}")
