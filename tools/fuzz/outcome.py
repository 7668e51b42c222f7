"""What came of an input, and which of that is a finding."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field

__all__ = ["GOOD", "Finding", "Tally", "classified", "described"]

# "read": the damage did no harm, or cannot be seen. "refused": an error made for people. "stopped": a long run that
# ended when it was interrupted, as Ctrl-C does. "told": a command that needed more memory than there is, and said so.
GOOD = ("read", "refused", "stopped", "told")


@dataclass(frozen=True)
class Finding:
    """An input that came to no good end: `kind` is "exception", "hang", "death" or "memory"."""

    reader: str
    number: int
    kind: str
    text: str


@dataclass
class Tally:
    """What came of a reader's inputs; `seconds` are those of the processor."""

    reader: str
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    slowest: float = 0.0
    slowest_number: int = 0

    @property
    def inputs(self) -> int:
        return self.counts.total()

    def add(self, other: Tally) -> None:
        """Count what another run of the same reader came to."""
        self.counts += other.counts
        self.findings += other.findings
        self.seconds += other.seconds
        if other.slowest > self.slowest:
            self.slowest, self.slowest_number = other.slowest, other.slowest_number

    def line(self) -> str:
        """For people."""
        ends = ", ".join(f"{count} {kind}" for kind, count in self.counts.most_common())
        rate = self.inputs / self.seconds if self.seconds else 0.0
        return (
            f"{self.reader:30} {self.inputs:7} inputs  {self.seconds:7.1f} s  {rate:6.0f}/s  "
            f"slowest {self.slowest:5.2f} s ({self.slowest_number})  {ends}"
        )


def described(problem: BaseException) -> str:
    """An exception in a line: its kind and text, and where in caffecompat and where at last it came from."""
    frames = traceback.extract_tb(problem.__traceback__)
    ours = next((frame for frame in reversed(frames) if "/caffecompat/" in frame.filename), None)
    places = [f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno}" for frame in (ours, *frames[-1:]) if frame]
    where = " < ".join(dict.fromkeys(places))
    return " ".join(f"{where} {type(problem).__name__}: {problem}".split())[:400]


def classified(problem: BaseException, command: bool) -> tuple[str, str]:
    """The kind of end that an exception is, and what to say of it.

    Args:
        command: the input is a command line, whose OSErrors are shown as messages; what nets need it may ask for.
    """
    from caffecompat.errors import CaffeCompatError, notes
    from caffecompat.memory import is_out_of_memory

    if is_out_of_memory(problem):
        return "told" if command else "memory", described(problem)
    if isinstance(problem, CaffeCompatError) or (command and (isinstance(problem, OSError) or notes(problem))):
        return "refused", str(problem)
    if isinstance(problem, KeyboardInterrupt):
        return ("stopped" if command else "hang"), described(problem)
    return "exception", described(problem)
