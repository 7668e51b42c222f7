"""The last line of an export: what became of the net's numbers, or what its target makes of it."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.deploy.targets.check import TargetReport
from caffecompat.deploy.targets.text import fitted, remedy_lines, verdict_line

__all__ = ["numbers_verdict", "print_target_verdict"]


def numbers_verdict(relative: Sequence[float], *, same: bool) -> str:
    """Whether what was written computes what the net does.

    Args:
        relative: the largest difference of each output that was compared, in parts of its largest value.
        same: whether none differs by more than rounding.

    >>> numbers_verdict([0.0, 2.5e-7], same=True)
    'verdict: same numbers as the net, up to 2.5e-07 of the largest value'
    """
    if not relative:
        return "verdict: the net's own layers and numbers; none was rewritten"
    if same:
        return f"verdict: same numbers as the net, up to {max(relative):.2g} of the largest value"
    return f"verdict: other numbers than the net's, by up to {max(relative):.2g} of the largest value"


def print_target_verdict(report: TargetReport) -> None:
    """What to change about layers that the target does not run, and the report in one line."""
    print(*fitted([*remedy_lines(report), verdict_line(report)]), sep="\n")
