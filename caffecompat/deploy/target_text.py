"""A target's verdicts in words: the gravest first, layers of one type with one reason on a line."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.deploy.target_check import CheckedLayer, TargetReport

__all__ = ["SAID", "document_lines", "few", "finding_lines"]

SAID = {
    "refused": "refused",
    "cpu": "falls to the CPU",
    "rewritten": "rewritten for the target",
    "runs": "runs on the target",
    "left out": "left out",
}
_NAMES = 5


def finding_lines(report: TargetReport, verdicts: Sequence[str] = tuple(SAID)) -> list[str]:
    """The layers of each verdict with the reasons, where there is something to tell; then what is to be noted."""
    lines = []
    for verdict in verdicts:
        found: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
        for layer in report.of(verdict):
            reasons = tuple(layer.judgement.reasons) if verdict not in ("runs", "left out") else ()
            found.setdefault((layer.type, reasons), []).append(layer.name)
        if found:
            lines.append(f"{SAID[verdict]}:")
        if verdict in ("runs", "left out"):
            lines += [f"  {line}" for line in _wrapped([f"{len(names)} {kind}" for (kind, _), names in found.items()])]
            continue
        for (kind, reasons), names in sorted(found.items(), key=lambda item: -len(item[1])):
            told = "; ".join(f"{text} [{source}]" for text, source in reasons)
            lines.append(f"  {len(names):>3} {kind} ({few(names)}): {told}")
    return lines + _notes(report)


def _notes(report: TargetReport) -> list[str]:
    noted: dict[tuple[str, str], list[str]] = {}
    for layer in report.layers:
        for said in layer.judgement.warned:
            noted.setdefault(said, []).append(layer.name)
    lines = [f"note: {text} [{source}]" for text, source in (report.model.warned if report.model else ())]
    return lines + [f"note: {text} [{source}] ({few(names)})" for (text, source), names in noted.items()]


def document_lines(report: TargetReport, layers: Sequence[CheckedLayer]) -> list[str]:
    """The documents that the verdicts on these layers cite."""
    used = {source for layer in layers for _, source in (*layer.judgement.reasons, *layer.judgement.warned)}
    used.update(source for _, source in (report.model.warned if report.model else ()))
    return [f"  [{key}] {text}" for key, text in report.table.documents.items() if key in used and key != "check"]


def few(names: Sequence[str]) -> str:
    """The first names."""
    return ", ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")


def _wrapped(parts: Sequence[str], width: int = 110) -> list[str]:
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += f", {part}" if lines[-1] else part
    return lines
