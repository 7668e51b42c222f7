"""Flags as Caffe users type them, made into what argparse reads.

gflags takes one dash or two, ``=`` or a blank before the value, and booleans
as ``--gray``, ``--nogray`` or ``--gray=false``; web pages turn the dashes into
en and em dashes; ``_`` and ``-`` inside a flag are the same here.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import Any, NoReturn, cast

from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ENVIRONMENT, NAMES
from caffecompat.threads import MOST_THREADS
from caffecompat.wording import did_you_mean

__all__ = [
    "COUNT",
    "EVERY_VERB",
    "INT32",
    "NATURAL",
    "SEED",
    "SIDE",
    "THREADS",
    "FlagParser",
    "UsageError",
    "add_switch",
    "check_companions",
    "device_flags",
    "finite",
    "split_commas",
]

EVERY_VERB = f"""flags of every verb:
  --fork NAME    whose rules nets follow where their text cannot show it (NVCaffe's plain BatchNorm, ENet's losses):
                 {", ".join(NAMES)};
                 the environment's {ENVIRONMENT} names one for all commands
  --proto FILE   a caffe.proto of your own fork
  --layers FILE  its layers, as torch modules in Python
  --python-path DIR   where modules of Python layers are, besides PYTHONPATH and the prototxt's folder
  --python-shape LAYER=1x3x10,...  shapes of a Python layer's tops where a net is only looked at: no code runs there
  --no-python-layers  refuse nets that would run the code of Python layers
  --debug        tracebacks of errors"""

_PASTED_DASHES = re.compile(r"^[\u2010-\u2015\u2212]+-?|^-[\u2010-\u2015\u2212]")
_NUMBER = re.compile(r"^-\.?\d")
_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")


class UsageError(CaffeCompatError):
    """The command line cannot be read."""


def _is_flag(token: str) -> bool:
    return token.startswith("-") and token != "-" and not _NUMBER.match(token)


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _whole(least: int = -(2**31), most: int = 2**31 - 1) -> Callable[[str], int]:
    """The type of a flag that is a whole number within bounds."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not least <= number <= most:
            bound = f"at least {least}" if number < least else f"at most {most}"
            raise argparse.ArgumentTypeError(f"{number} must be {bound}")
        return number

    return read


INT32 = _whole()
COUNT = _whole(1)
NATURAL = _whole(0)
SEED = _whole(0, 2**32 - 1)
SIDE = _whole(0, 2**14)  # pixels of a picture; that square is as many as are decoded
THREADS = _whole(0, 1024)


def finite(text: str) -> float:
    """The type of a flag that is a number, neither infinity nor NaN."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text} is not finite")
    return number


def add_switch(
    parser: argparse.ArgumentParser, name: str, help: str, *, default: bool | None = False, old: str = ""
) -> None:
    """Add a gflags boolean: ``--name``, ``--noname``, ``--name=true``; `old` is a former name, still taken."""
    dest = name.replace("-", "_")
    # normalize() always adds the value, so that "?" never takes the word after the flag.
    names = [f"--{each}" for each in (name, old) if each]
    parser.add_argument(
        *names, type=_boolean, nargs="?", const=True, default=default, metavar="BOOL", dest=dest, help=help
    )


def split_commas(text: str) -> list[str]:
    """``a, b`` as ``["a", "b"]``; empty parts are dropped."""
    return [part.strip() for part in text.split(",") if part.strip()]


def weight_files(text: str | None) -> list[str] | None:
    """The files that ``--weights`` names, separated by commas; None without the flag.

    Raises:
        UsageError: the flag is there and empty.
    """
    if text is None:
        return None
    from caffecompat.net.weights import listed_files

    files = listed_files(text)
    if not files:
        raise UsageError("--weights is empty: expected a file, or several separated by commas")
    return files


def add_nonfinite_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow-nonfinite`` to a verb that holds what it writes against the net."""
    add_switch(parser, "allow-nonfinite", "go on though the net holds NaN or infinity, if at the same places in both")


def check_companions(verb: str, rows: Iterable[tuple[str, str, object]]) -> None:
    """Refuse flags without those that give them a sense.

    Args:
        verb: for the message.
        rows: a flag, what it needs, and whether it was given without.

    Raises:
        UsageError: one was.
    """
    for flag, needs, alone in rows:
        if alone:
            raise UsageError(f"caffecompat {verb}: {flag} needs {needs}")


def device_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--gpu`` (Caffe's) and ``--device`` (ours)."""
    parser.add_argument("--gpu", metavar="N|all", help="GPU to run on, or a comma-separated list, or 'all'")
    parser.add_argument("--device", metavar="DEV", help="cpu, cuda, cuda:N or N; wins over --gpu and solver_mode")


def loader_threads_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--loader-threads``."""
    parser.add_argument("--loader-threads", type=_threads, default=0, metavar="N",
                        help="threads that read and decode pictures for each data layer (half the cores, at most 8, "
                        "shared by the processes of a machine; or what the layer's `threads` says)")  # fmt: skip


def _threads(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MOST_THREADS}, it is {text}")
    return int(text)


class FlagParser(argparse.ArgumentParser):
    """argparse with gflags' spellings and errors that name the nearest flag.

    `notice` receives one line when pasted dashes were read as plain ones.
    """

    def __init__(self, *args: Any, notice: Callable[[str], None] | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("epilog", EVERY_VERB)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)
        self._notice = notice

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}{self._nearest(message)}\nSee '{self.prog} --help'.")

    def _nearest(self, message: str) -> str:
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if choice:
            return did_you_mean(choice[1], self.parts() or [name.strip("'") for name in choice[2].split(", ")])
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        if not unknown:
            return ""
        return self._file_flag(unknown[1]) or self._solver_field(unknown[1]) or self._near_flag(unknown[1])

    def _file_flag(self, word: str) -> str:
        """For a file without its flag, the flag that takes it."""
        flags = {".prototxt": ("--solver", "--model"), ".caffemodel": ("--weights",), ".solverstate": ("--snapshot",)}
        known = (flag for flag in flags.get(PurePath(word).suffix, ()) if flag in self._option_string_actions)
        return next((f"; did you mean {flag} {word}?" for flag in known if not _is_flag(word)), "")

    def _solver_field(self, flag: str) -> str:
        """For a field of the solver that is given as a flag, how it is set."""
        from caffecompat.schema import pb  # takes as long to import as this whole module

        name = flag.removeprefix("--").replace("-", "_")
        known = (
            name.isascii()
            and name in pb.SolverParameter.DESCRIPTOR.fields_by_name
            and "--solver" in self._option_string_actions
        )
        return f"; --set {name}=VALUE sets it in the solver" if known and _is_flag(flag) else ""

    def _near_flag(self, flag: str) -> str:
        if len(flag) == len("--o"):  # a letter is near to every short flag
            begun = sorted(known for known in self._option_string_actions if known.startswith(flag))
            return f"; did you mean {begun[0]}?" if begun else ""
        return did_you_mean(flag, self._option_string_actions) if _is_flag(flag) else ""

    def parts(self) -> dict[str, FlagParser]:
        """The verbs of a group (``build``, ``info`` of ``lmdb``) and their parsers; none of a single verb."""
        found = self._subparsers._group_actions[0].choices if self._subparsers else None
        return cast(dict[str, FlagParser], found or {})

    def takes_value(self, flag: str) -> bool | None:
        """Whether a flag takes the word after it for its value; None where the flag is unknown."""
        name = self.normalize([flag])[0]
        if "=" in name:
            return False  # a switch
        action = self._option_string_actions.get(name)
        return None if action is None else action.nargs != 0

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        tokens = self.normalize(args or ())
        if self._subparsers:
            return super().parse_known_args(tokens, namespace)
        result, unknown = super().parse_known_args(self._sorted(tokens), namespace)
        if unknown:  # reported here, where the flags are known, and not by the verb above
            self.error(f"unrecognized arguments: {' '.join(sorted(unknown, key=_is_flag, reverse=True))}")
        return result, unknown

    def _sorted(self, tokens: Iterable[str]) -> list[str]:
        """Bring the words together: argparse gives all of its optional ones up at the first flag after a word."""
        flags: list[str] = []
        words: list[str] = []
        rest = list(tokens)
        while rest:
            token = rest.pop(0)
            if token == "--":
                words += rest
                break
            (flags if _is_flag(token) else words).append(token)
            for _ in range(self._value_count(token, rest)):
                flags.append(rest.pop(0))
        return [*flags, "--", *words] if any(_is_flag(word) for word in words) else [*words, *flags]

    def _value_count(self, token: str, rest: Sequence[str]) -> int:
        """How many of the tokens after a token are its values."""
        action = self._option_string_actions.get(token)
        if action is None:  # not a flag, or one with its value after "="
            return 0
        following = next((at for at, word in enumerate(rest) if _is_flag(word)), len(rest))
        if isinstance(action.nargs, int):
            return min(action.nargs, following)
        return min(1, following) if action.nargs in (None, "?") else following

    def normalize(self, tokens: Iterable[str]) -> list[str]:
        """Rewrite every flag to ``--name`` or ``--name=value``, positionals untouched."""
        switches = {
            option
            for option, action in self._option_string_actions.items()
            if getattr(action, "type", None) is _boolean
        }
        result: list[str] = []
        pasted = False
        rest = list(tokens)
        while rest:
            token = rest.pop(0)
            if token == "--":
                return [*result, token, *rest]
            plain = _PASTED_DASHES.sub("--", token)
            pasted |= plain != token
            if not _is_flag(plain):
                result.append(token)
                continue
            if plain in self._option_string_actions and len(plain) == 2:
                result.append(plain)
                continue
            name, equals, value = plain.lstrip("-").partition("=")
            flag = "--" + name.replace("_", "-")
            negated = "--" + flag[4:].lstrip("-")
            if flag not in self._option_string_actions and flag.startswith("--no") and negated in switches:
                flag, equals, value = negated, "=", "false"
            elif flag in switches and not equals:
                equals, value = "=", "true"
            if value == "--" and flag in self._option_string_actions:  # argparse would leave the verb an empty list
                self.error(f"argument {flag}: '--' is no value")
            result.append(f"{flag}{equals}{value}")
        if pasted and self._notice:
            self._notice("note: typographic dashes in the command were read as '-'")
        return result
