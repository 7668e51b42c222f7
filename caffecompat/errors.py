"""The one exception that means "the user can fix this"."""

from __future__ import annotations

from typing import ClassVar

__all__ = ["CaffeCompatError", "add_note", "brief", "exit_with", "notes"]


_LONGEST = 300  # letters of a line that brief() gives
_LONGEST_MESSAGE = 4000  # letters


class CaffeCompatError(Exception):
    """A mistake in the user's files, flags or surroundings.

    The message is written for the person at the prompt: what was read, where
    (``file:line:column`` when known), what was expected and what to do. The
    command line prints it without a traceback and exits with `status`. A message over 4000 letters ends there, with
    the count of what is left out: names and lists in it come out of files that may be anything.

    >>> import caffecompat
    >>> try:
    ...     caffecompat.read_net("nowhere.prototxt")
    ... except caffecompat.CaffeCompatError as problem:
    ...     print(str(problem).partition(" (")[0])
    nowhere.prototxt: there is no such file
    """

    status: ClassVar[int] = 2

    def __str__(self) -> str:
        return _bounded(super().__str__())


def _bounded(message: str) -> str:
    """The beginning of a long message, whole lines where it has such, and how much more there is."""
    if len(message) <= _LONGEST_MESSAGE:
        return message
    shown, _, cut = message[:_LONGEST_MESSAGE].rpartition("\n")
    if len(cut) > _LONGEST_MESSAGE // 2:  # of one very long line
        shown = message[:_LONGEST_MESSAGE]
        return f"{shown}... and {len(message) - len(shown)} more letters"
    return f"{shown}\n... and {message[len(shown) + 1 :].count(chr(10)) + 1} more lines"


def brief(problem: BaseException) -> str:
    """What a library says is wrong, in one line: the first of the exception's text, or its type where it has none."""
    text = str(problem.args[0]) if isinstance(problem, KeyError) and problem.args else str(problem)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if len(line) > _LONGEST:
        line = line[: _LONGEST - 3] + "..."
    return line or type(problem).__name__


def add_note(error: BaseException, note: str) -> None:
    """Add a line that says where an error of the user's own code happened (PEP 678, also before Python 3.11)."""
    error.__dict__.setdefault("__notes__", []).append(note)


def notes(error: BaseException) -> list[str]:
    """The lines added by :func:`add_note`."""
    return list(getattr(error, "__notes__", []))


def exit_with(error: BaseException, status: int) -> None:
    """Say with which status the command line ends for this one error of whatever class."""
    error.__dict__["status"] = status
