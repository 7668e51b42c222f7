"""Show what is installed: versions, devices, threads, optional parts, and what to install for what.

    caffecompat doctor

The exit status is 1 where a library is missing without which caffecompat does not work. Reports of errors should have
what this prints.
"""

from __future__ import annotations

import argparse

HELP = "what is installed here, and what is missing for what"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def run(args: argparse.Namespace) -> int:
    from caffecompat.installation import examine_installation

    found = examine_installation()
    width = max(len(name) for name, _ in found.machine)
    for name, here in found.machine:
        print(f"{name:<{width}}  {here}")
    print("\nlibraries")
    width = max((len(library.name) for library in found.libraries), default=0)
    for library in found.libraries:
        print(f"  {library.name:<{width}}  {library.problem or library.version}")
    print("\noptional parts")
    for extra in found.extras:
        here = ", ".join(f"{library.name} {library.version}" for library in extra.libraries)
        print(f"  {extra.name:<12}{extra.purpose}: {'missing' if extra.problem else here}")
        if extra.problem:
            print(f"  {'':<12}{extra.problem}; pip install 'caffecompat[{extra.name}]'")
    if found.variables:
        print("\nof the environment")
        for name, value in found.variables:
            print(f"  {name}={value}")
    print("\n" + ("; ".join(found.problems) if found.problems else "all that is needed is here"))
    return 1 if found.problems else 0
