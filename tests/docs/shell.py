"""Runs the shell blocks of a page: caffecompat's commands in this process, which is fast, all others by bash.

Commands with --proto have a process of their own, as the schema is open only until its first use.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from caffecompat.cli.main import main
from caffecompat.cli.verbs import parser_of, split_verb

__all__ = ["caffecompat_words", "commands_of", "parse", "run_command"]

_TO_FILE = re.compile(r"\s*(2>&1)?\s*(?:>|\| tee)\s*(\S+)$")
_SYNTAX = re.compile(r"[|;<>`]|&&|\$\(")


def commands_of(text: str) -> list[str]:
    """The commands of a block, without prompts and comments."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    lines = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in lines]
    return [line.removeprefix("$ ") for line in lines if line]


def caffecompat_words(command: str) -> list[str] | None:
    """The words after ``caffecompat`` in a command line, also of one that a launcher starts; None for others."""
    with contextlib.suppress(ValueError):
        words = shlex.split(command)
        for at, word in enumerate(words):
            if word == "caffecompat":
                rest = words[at + 1 :]
                end = next((i for i, other in enumerate(rest) if _SYNTAX.match(other) or other == "2>&1"), len(rest))
                return rest[:end]
    return None


def parse(words: list[str]) -> None:
    """Read a command's flags.

    Raises:
        UsageError: there are no such flags.
    """
    if words and words[0] not in ("help", "--help", "--version"):
        verb, rest = split_verb(_without_flags_of_all(words))
        parser_of(verb).parse_args(rest[:1] if verb == "run" else rest)


def _without_flags_of_all(words: list[str]) -> list[str]:
    from caffecompat.cli.common.every_verb import EveryVerbFlags

    return EveryVerbFlags.take(words)[1]


def run_command(command: str) -> tuple[int, str]:
    """Run a command line; returns its exit status and what it wrote, messages included."""
    if command.startswith("export "):
        name, _, value = command.removeprefix("export ").partition("=")
        os.environ[name] = _expand(value)[0]
        return 0, ""
    if command.startswith("cd "):
        os.chdir(command.removeprefix("cd "))
        return 0, ""
    target = _TO_FILE.search(command)
    plain = command[: target.start()] if target else command
    words = shlex.split(plain)[:1]
    if words != ["caffecompat"] or "--proto" in plain or _SYNTAX.search(re.sub(r"'[^']*'|\"[^\"]*\"", "", plain)):
        return _by_bash(command)
    out, both = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(_Tee(out, both)), contextlib.redirect_stderr(_Tee(both)):
        try:
            status = main(_expand(plain)[1:])
        except SystemExit as end:  # argparse's, after --help
            status = int(end.code or 0)
    if target:
        Path(target[2]).write_text((both if target[1] else out).getvalue())
    return status, both.getvalue()


class _Tee(io.StringIO):
    """A stream that writes to several."""

    def __init__(self, *others: io.StringIO) -> None:
        super().__init__()
        self.others = others

    def write(self, text: str) -> int:
        for other in self.others:
            other.write(text)
        return len(text)


def _expand(text: str) -> list[str]:
    """Words as a shell makes them of a line: quotes, variables, patterns of file names."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {text}"], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def _by_bash(command: str) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {_as_functions()}\n{command}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout


def _as_functions() -> str:
    """Programs of the environment by their names, wherever its folder is."""
    python = shlex.quote(sys.executable)
    return f'caffecompat() {{ {python} -m caffecompat "$@"; }}; python() {{ {python} "$@"; }}'


@contextlib.contextmanager
def environment_restored() -> Iterator[None]:
    """Puts back the environment and the current folder."""
    before, folder = dict(os.environ), Path.cwd()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        os.chdir(folder)
