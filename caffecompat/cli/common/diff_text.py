"""A comparison of two nets, or two solvers, for a terminal: what changed, on about one screen."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from caffecompat.printable import printable_lines
from caffecompat.report.net_diff_text import SIGNS, Sentence, counted

if TYPE_CHECKING:
    from caffecompat.report.net_comparison import BlobDifference, ShapeReport, WeightsReport

__all__ = ["Printer", "blob_sentences", "shape_sentences", "weight_sentences"]

_COLORS = {"added": "32", "removed": "31", "changed": "33", "renamed": "36", "moved": "35", "head": "1"}
_SHOWN = 6  # sentences of a kind before "and N more"
_WIDTH = 100  # of a file
_HANGING = " " * 6


class Printer:
    """Lays sentences out in lines; colored for a terminal that wants it, as wide as it is.

    Args:
        everything: show every name of every list.

    Attributes:
        left_out: whether something was not shown.
    """

    def __init__(self, everything: bool = False) -> None:
        self.everything = everything
        self.left_out = False
        self._terminal = sys.stdout.isatty()
        self._colored = self._terminal and not os.environ.get("NO_COLOR")
        self._width = min(max(shutil.get_terminal_size((_WIDTH, 40)).columns, 60), 160) if self._terminal else _WIDTH

    def paint(self, kind: str, text: str) -> str:
        color = _COLORS.get(kind)
        text = printable_lines(text)
        return f"\033[{color}m{text}\033[0m" if self._colored and color else text

    @staticmethod
    def print(lines: Iterable[str]) -> None:
        """Print lines whose names went through `paint` or `lines`."""
        print("\n".join(lines), file=getattr(sys.stdout, "unescaped", sys.stdout))

    def lines(self, sentences: Iterable[Sentence]) -> list[str]:
        """Sentences as lines, with a heading where a section begins."""
        lines, section = [], "layers"
        for each in sentences:
            self.left_out |= each.more
            if each.section != section:
                lines.append(self.paint("head", each.section))
                section = each.section
            head = f"  {SIGNS[each.kind]} " if each.kind else "  "
            lines += [self.paint(each.kind, line) for line in self._fit(head + each.text, [*map(_text, each.names)])]
        return lines

    def _fit(self, text: str, names: Sequence[str]) -> list[str]:
        """A sentence with as many of its names as one line takes, or in several lines with all of them."""
        whole = f"{text}: {', '.join(names)}" if names else text
        if len(whole) <= self._width:
            return [whole]
        if self.everything or not names:
            return self._wrapped(whole)
        lines = self._wrapped(f"{text}:")
        line = self._few(f"{lines[-1]} ", names)
        return [*lines[:-1], line] if len(line) <= self._width else [*lines, self._few(_HANGING, names)]

    def _few(self, start: str, names: Sequence[str]) -> str:
        """A line with as many names as it takes, even if one is too long."""
        line = ""
        for count in range(len(names), 0, -1):
            rest = len(names) - count
            line = start + ", ".join([*names[:count], *([f"and {rest} more"] if rest else [])])
            if len(line) <= self._width:
                break
        self.left_out |= rest > 0
        return line

    def _wrapped(self, text: str) -> list[str]:
        return textwrap.wrap(
            text, self._width, subsequent_indent=_HANGING, break_long_words=False, break_on_hyphens=False
        )  # fmt: skip


def _text(name: object) -> str:
    return name if isinstance(name, str) else str(getattr(name, "text", name))


def _section(name: str, texts: Iterable[str | tuple[str, Sequence[str]]]) -> list[Sentence]:
    return [
        Sentence("", [text], section=name)
        if isinstance(text, str)
        else Sentence("", [text[0]], list(text[1]), section=name)
        for text in texts
    ]


def _rest(section: str, text: str) -> list[Sentence]:
    return [Sentence("", [text], section=section, more=True)]


# ------------------------------------------------------------------------------------------------ shapes


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def shape_sentences(reports: Sequence[ShapeReport], everything: bool) -> list[Sentence]:
    """Where shapes begin to differ, and how many blobs follow."""
    sentences: list[Sentence] = []
    for at, report in enumerate(reports):
        phases = " and ".join("TRAIN" if phase == 0 else "TEST" for phase in report.phases)
        if at and not everything and report.changes and report.within(reports[0]):
            sentences += _section("shapes", [f"{phases}: the same, but for the batch"])
        else:
            sentences += _shape_sentences(report, phases, everything)
    return sentences


def _shape_sentences(report: ShapeReport, phases: str, everything: bool) -> list[Sentence]:
    if not report.changes:
        return _section("shapes", [f"{phases}: the blobs of layers in both have the same shapes"])
    if report.batch:
        text = f"batch {report.batch[0]} -> {report.batch[1]} in {len(report.changes)} blobs, else the same"
        return _section("shapes", [f"{phases}: {text}"])
    changes = report.changes if everything else report.roots
    shown = changes if everything or len(changes) <= _SHOWN + 1 else changes[:_SHOWN]
    words = _section(
        "shapes", [f"{phases}: {change.blob} {_shape(change.a)} -> {_shape(change.b)}" for change in shown]
    )
    rest = len(report.changes) - len(shown)
    return words + (_rest("shapes", f"{phases}: and {rest} more blobs, most of them because of these") if rest else [])


# ------------------------------------------------------------------------------------------------ weights


def weight_sentences(report: WeightsReport, everything: bool) -> list[Sentence]:
    """What loads, what does not and why."""
    count = len(report.loaded) + len(report.misfits) + len(report.fresh)
    share = report.values / report.total if report.total else 1.0
    source = report.file or "a caffemodel of A"
    texts: list[str | tuple[str, Sequence[str]]] = [
        f"{source} into B: {len(report.loaded)} of {counted(count)} load ({report.values:,} values, {share:.1%})"
    ]
    shown = report.misfits if everything else report.misfits[:_SHOWN]
    texts += [f"does not fit: {text if report.file else f'{name}: {text}'}" for name, text in shown]
    sentences = _section("weights", texts)
    if len(shown) < len(report.misfits):
        sentences += _rest("weights", f"does not fit: and {len(report.misfits) - len(shown)} more")
    texts = []
    ignored = "in the file only, ignored" if report.file else "in A only, ignored"
    if report.misfits:
        texts.append("Caffe refuses such a file: rename these layers in B, or pass --skip-mismatched")
    for text, names in (("in B only, start fresh", report.fresh), (ignored, report.ignored)):
        if names:
            texts.append((f"{text}: {counted(len(names))}", names))
    if report.renamed:
        pairs = [f"{old} -> {new}" for old, new in report.renamed]
        texts.append((f"would fit but for the name: {counted(len(pairs))}", pairs))
    return sentences + _section("weights", texts)


def blob_sentences(differences: Sequence[BlobDifference], everything: bool) -> list[Sentence]:
    """How far the weights of both are apart, the farthest first."""
    apart = sorted((d for d in differences if d.largest != 0), key=lambda d: -d.relative)
    equal = len(differences) - len(apart)
    sentences = _section("weights", [f"{equal} of {len(differences)} blobs of layers in both are equal"])
    shown = apart if everything or len(apart) <= _SHOWN + 1 else apart[:_SHOWN]
    for d in shown:
        amount = (
            "another shape" if d.largest is None else f"largest difference {d.largest:.3g}, {d.relative:.2%} of A's rms"
        )
        sentences += _section("weights", [f"{d.layer}[{d.index}]: {amount}"])
    return sentences + (
        _rest("weights", f"and {len(apart) - len(shown)} more that differ less") if len(shown) < len(apart) else []
    )
