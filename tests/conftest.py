"""Fixtures: where recorded data lies. And what the tests add to the report at its end."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from caffecompat import configure_logging

# Several test processes share the cores: OpenMP teams that wait for each other are slower than one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A suite that a shell starts in the background ignores Ctrl-C, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What the package logs is read as the command line writes it: in glog's form, on stderr.
configure_logging()

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def golden() -> Path:
    """The recorded data that is part of the repository."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Other people's files next to the checkout; tests that need them skip where they are absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("real prototxts and weights (../shared) are not here")
    return folder


@pytest.fixture
def scripts_in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts back what ``caffecompat run`` changes in its process: arguments, path, and the modules called caffe."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = _caffe_modules()
    yield
    for name in _caffe_modules():
        del sys.modules[name]
    sys.modules.update(before)


def _caffe_modules() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "caffe"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests tell by ``record_property``, also from the processes of pytest-xdist.

    ``("measured", text)`` is shown, ``("case of", group)`` counted by outcome, and each different
    ``("line of", (table, text))`` shown once in its table, with how often it came.
    """
    counts: dict[str, Counter[str]] = {}
    tables: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, told in getattr(report, "user_properties", ()):
                if name == "case of":
                    counts.setdefault(str(told), Counter())[outcome] += 1
                elif name == "measured" and outcome != "skipped":
                    tables.setdefault("measured", Counter())[str(told)] += 1
                elif name == "line of":
                    table, text = told
                    tables.setdefault(table, Counter())[text] += 1
    for table, lines in sorted(tables.items()):
        terminalreporter.section(table)
        for text, times in sorted(lines.items()):
            terminalreporter.write_line(text if times == 1 else f"{text} ({times} times)")
    for group, held in sorted(counts.items()):
        rest = "".join(f", {held[what]} {what}" for what in ("failed", "skipped") if held[what])
        terminalreporter.write_line(f"{group}: {held['passed']} of {held.total()} hold{rest}")
