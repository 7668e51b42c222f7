"""The reference of the command line: a page a verb, from the parsers of its flags."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from page_text import code, plain, prose, table

from caffecompat.cli.common.flags import EVERY_VERB, FlagParser
from caffecompat.cli.verbs import VERBS, parser_of, verb_module

__all__ = ["command_pages", "command_titles"]


def command_titles() -> dict[str, dict[str, str]]:
    """Titles of the verbs' pages by their paths, in groups."""
    return {group: {f"reference/commands/{verb}.md": verb for verb in verbs} for group, verbs in VERBS.items()}


def command_pages() -> Iterator[tuple[str, str]]:
    """Paths of the pages and their text."""
    text = "# Commands\n\n`caffecompat help VERB` shows the same in the terminal.\n"
    for group, verbs in VERBS.items():
        rows = [[f"[{verb}]({verb}.md)", plain(verb_module(verb).HELP)] for verb in verbs]
        text += f"\n## {group}\n\n{table(['verb', 'what for'], rows)}"
    yield "reference/commands/index.md", f"{text}\n## Flags of every verb\n\n```text\n{EVERY_VERB}\n```\n"
    for verbs in VERBS.values():
        for verb in verbs:
            yield f"reference/commands/{verb}.md", _page(verb)


def _page(verb: str) -> str:
    parser = parser_of(verb)
    text = f"# {verb}\n\n{prose(parser.description)}\n{_flags(parser)}"
    for name, part in parser.parts().items():
        text += f"\n## {verb} {name}\n\n{prose(part.description)}\n{_flags(part)}"
    return text + "\nThe [flags of every verb](index.md#flags-of-every-verb) are taken, too.\n"


def _flags(parser: FlagParser) -> str:
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        names = ", ".join(map(code, action.option_strings or [str(action.metavar or action.dest)]))
        value = action.metavar if isinstance(action.metavar, str) else ""
        value = value or ", ".join(map(str, action.choices or ()))
        rows.append([names, value if action.option_strings else "", plain(_help(action))])
    return table(["flag", "value", "meaning"], rows) if rows else ""


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%%", "%")
    return text.replace("%(default)s", str(action.default))
