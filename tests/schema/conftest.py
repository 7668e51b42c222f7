"""The log, caught."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from caffecompat import glog


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The lines that are logged during the test."""
    lines: list[str] = []
    glog.set_sink(lines.append)
    yield lines
    glog.set_sink(None)
