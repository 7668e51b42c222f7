"""Counts of values for channels: what is said of those that do not fit."""

from __future__ import annotations

import pytest

from caffecompat.data.per_channel import check_per_channel
from caffecompat.data.source import DataError


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (1, 3), (3, 3), (2, 2)])
def test_one_for_all_or_one_each(count: int, channels: int) -> None:
    check_per_channel([0] * count, channels, "mean_value")


@pytest.mark.parametrize(
    ("count", "channels", "said"),
    [
        (3, 1, r"3 mean_value\(s\) for 1 channel\(s\): the picture is gray\. .*force_color: true.*is_color: true"),
        (2, 1, r"2 mean_value\(s\) for 1 channel\(s\); give 1$"),
        (2, 3, r"2 mean_value\(s\) for 3 channel\(s\); give 1 or 3$"),
    ],
)
def test_others_are_refused_with_the_cure(count: int, channels: int, said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_per_channel([0] * count, channels, "mean_value")
