"""Messages have an end."""

from __future__ import annotations

from caffecompat.errors import CaffeCompatError
from caffecompat.net import NetError


def test_a_short_message_stays_as_it_is() -> None:
    assert str(CaffeCompatError("net.prototxt: no such file")) == "net.prototxt: no such file"
    assert str(CaffeCompatError()) == ""


def test_a_long_line_ends_with_the_count_of_the_rest() -> None:
    text = str(CaffeCompatError("x" * 100_000))
    assert text == "x" * 4000 + "... and 96000 more letters"


def test_many_lines_end_with_the_count_of_the_rest() -> None:
    lines = [f"line {number}" for number in range(10_000)]
    shown = str(CaffeCompatError("\n".join(lines))).split("\n")
    assert shown[:-1] == lines[: len(shown) - 1]
    assert shown[-1] == f"... and {10_000 - len(shown) + 1} more lines" and len("\n".join(shown)) < 4100


def test_problems_of_a_net_with_long_names_end_too() -> None:
    problem = NetError([f"{number}: {'long ' * 200}" for number in range(50)])
    assert len(str(problem)) < 4100 and "more" in str(problem) and len(problem.problems) == 50
