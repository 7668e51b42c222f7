"""What folding did, for people."""

from __future__ import annotations

from caffecompat.deploy.fold_norm import Folded

__all__ = ["report_lines"]

_NAMED = 5  # of the layers that stay for one reason; the reason tells which kind they are
_OWN_LINES, _WIDTH = 15, 110  # folded layers beyond so many share lines of this width


def report_lines(folded: Folded) -> list[str]:
    """What was folded into what, and what was not."""
    by_target: dict[str, list[str]] = {}
    for name, target in folded.folded:
        by_target.setdefault(target, []).append(f"{name} (before it)" if name in folded.ahead else name)
    merged = len({name for name, _ in folded.folded})
    lines = [f"folded {merged} layer{'s' * (merged != 1)} into {len(by_target)}"]
    lines += _packed([f"{target} <- {', '.join(names)}" for target, names in by_target.items()])
    by_reason: dict[str, list[str]] = {}
    for name, reason in folded.left:
        by_reason.setdefault(reason, []).append(name)
    if folded.left:
        many = len(folded.left) > 1
        lines.append(f"{len(folded.left)} layers stay as they are:" if many else "1 layer stays as it is:")
    for reason, names in by_reason.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"  {', '.join(names[:_NAMED])}{more}: {reason}")
    return lines


def _packed(texts: list[str]) -> list[str]:
    """A line for each text, or several to a line where they would fill a screen."""
    if len(texts) <= _OWN_LINES:
        return [f"  {text}" for text in texts]
    lines = [""]
    for text in texts:
        if lines[-1] and len(lines[-1]) + len(text) + 2 > _WIDTH:
            lines.append("")
        lines[-1] += f"; {text}" if lines[-1] else text
    return [f"  {line}" for line in lines]
