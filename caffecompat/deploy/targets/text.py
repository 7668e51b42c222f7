"""A target's verdicts in words: the gravest first, layers of one type with one reason on a line."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence

from caffecompat.deploy.targets.check import CheckedLayer, TargetReport
from caffecompat.wording import few

__all__ = ["VERDICT_TEXTS", "document_lines", "finding_lines", "fitted", "remedy_lines", "verdict_line"]

VERDICT_TEXTS = {
    "refused": "refused",
    "cpu": "falling to the CPU",
    "rewritten": "rewritten for the target",
    "runs": "running on the target",
    "left out": "left out",
}
_NAMES = 5
_TITLES = {"dpu": "the DPU", "tidl": "TIDL"}


def finding_lines(report: TargetReport, verdicts: Sequence[str] = tuple(VERDICT_TEXTS)) -> list[str]:
    """The layers of each verdict with the reasons, where there is something to report; then what is to be noted."""
    lines = []
    for verdict in verdicts:
        layers = report.of(verdict)
        if layers:
            lines.append(f"{VERDICT_TEXTS[verdict]}:")
        if verdict in ("runs", "left out"):
            lines += [f"  {line}" for line in _wrapped([f"{count} {kind}" for kind, count in _kinds(layers).items()])]
            continue
        same: dict[tuple[tuple[str, str], ...], list[CheckedLayer]] = {}
        for layer in layers:
            same.setdefault(tuple(layer.judgment.reasons), []).append(layer)
        for reasons, alike in sorted(same.items(), key=lambda item: -len(item[1])):
            text = "; ".join(f"{text} [{source}]" for text, source in reasons)
            kinds = ", ".join(_kinds(alike))
            lines.append(f"  {len(alike):>3} {kinds} ({few([layer.name for layer in alike], _NAMES)}): {text}")
    return lines + _notes(report)


def remedy_lines(report: TargetReport) -> list[str]:
    """What to change about each layer that falls to the CPU or is refused; layers with one remedy share a line."""
    same: dict[str, list[str]] = {}
    for layer in [*report.of("refused"), *report.of("cpu")]:
        for remedy in dict.fromkeys(layer.judgment.remedies):
            same.setdefault(remedy, []).append(layer.name)
    title = _TITLES.get(report.table.target, report.table.target)
    lines = [f"what to change for {title}:"] if same else []
    return lines + [f"  {few(names, _NAMES)}: {remedy}" for remedy, names in same.items()]


def verdict_line(report: TargetReport) -> str:
    """The whole report in one line."""
    table = report.table
    begin = f"verdict, {table.target} {table.version}: "
    there = [layer for layer in report.layers if layer.verdict != "left out"]
    rewritten, cpu, refused = (len(report.of(verdict)) for verdict in ("rewritten", "cpu", "refused"))
    total = f"{len(there)} layer{'s' * (len(there) != 1)}"
    outside = [f"{cpu} of {total} fall{'s' * (cpu == 1)} to the CPU"] if cpu else []
    if refused:
        are = "is" if refused == 1 else "are"
        outside.append(f"{refused} {are} refused" if cpu else f"{refused} of {total} {are} refused")
    if report.model is not None and report.model.verdict == "refused":
        outside.append(f"the model as a whole is refused: {'; '.join(text for text, _ in report.model.reasons)}")
    if outside:
        return begin + ", ".join(outside)
    how = f", {rewritten} rewritten for it" if rewritten else ""
    return f"{begin}runs on {_TITLES.get(table.target, table.target)} whole ({total}{how})"


def _kinds(layers: Sequence[CheckedLayer]) -> Counter[str]:
    """How many of each type, the most first."""
    return Counter(dict(Counter(layer.type for layer in layers).most_common()))


def _notes(report: TargetReport) -> list[str]:
    noted: dict[tuple[str, str], list[str]] = {}
    for layer in report.layers:
        for warning in layer.judgment.warned:
            noted.setdefault(warning, []).append(layer.name)
    lines = [f"note: {text} [{source}]" for text, source in (report.model.warned if report.model else ())]
    return lines + [f"note: {text} [{source}] ({few(names, _NAMES)})" for (text, source), names in noted.items()]


def document_lines(report: TargetReport, layers: Sequence[CheckedLayer]) -> list[str]:
    """The documents that the verdicts on these layers cite."""
    used = {source for layer in layers for _, source in (*layer.judgment.reasons, *layer.judgment.warned)}
    used.update(source for _, source in (report.model.warned if report.model else ()))
    return [f"  [{key}] {text}" for key, text in report.table.documents.items() if key in used and key != "check"]


def fitted(lines: Sequence[str]) -> list[str]:
    """Lines no wider than the terminal, what is left of one standing further in; as they are where nobody looks."""
    if not sys.stdout.isatty():
        return list(lines)
    width = min(shutil.get_terminal_size().columns, 130)
    made = []
    for line in lines:
        margin = " " * (len(line) - len(line.lstrip()) + 6)
        made += textwrap.wrap(line, width, subsequent_indent=margin, break_on_hyphens=False) or [line]
    return made


def _wrapped(parts: Sequence[str], width: int = 110) -> list[str]:
    lines = [""] if parts else []
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += f", {part}" if lines[-1] else part
    return lines
