"""Print a script that completes verbs and flags when Tab is pressed.

    caffecompat completion bash > ~/.local/share/bash-completion/completions/caffecompat
    caffecompat completion zsh > "${fpath[1]}/_caffecompat"

A new shell reads it. It holds the verbs and flags of this version: print it again after an update. Needs shtab:
pip install 'caffecompat[completion]'.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.flags import FlagParser, UsageError

HELP = "a script for bash, zsh or tcsh that completes verbs and flags"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="the shell that will read it")


def run(args: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError:
        raise UsageError("completion needs shtab: pip install 'caffecompat[completion]'") from None
    print(shtab.complete(_every_verb(), args.shell))
    return 0


def _every_verb() -> argparse.ArgumentParser:
    """One parser with all verbs and their flags, which the command line itself never makes."""
    from caffecompat.cli.verbs import VERBS, parser_of, verb_module

    root = argparse.ArgumentParser(prog="caffecompat")
    verbs = root.add_subparsers(parser_class=FlagParser)
    for name in (name for names in VERBS.values() for name in names):
        verbs.add_parser(name, help=verb_module(name).HELP)
        verbs.choices[name] = _with_files(parser_of(name))
    return root


def _with_files(parser: FlagParser) -> FlagParser:
    """The parser, of which a flag's value is completed as a file where nothing better is known."""
    import shtab

    for action in parser._actions:
        if action.nargs != 0 and not action.choices and action.type in (None, str):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    for part in parser.parts().values():
        _with_files(part)
    return parser
