"""What `doctor` says of libraries, and of parts that are not installed."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

from caffecompat import examine_installation
from caffecompat.installation import PURPOSES, Library

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("wanted", "version", "problem"),
    [
        (">=3.9", "3.16.0", ""),
        (">=3.9", "3.9", ""),
        (">=3.9", "3.8.0", "3.8.0 is installed, >=3.9 is needed"),
        ("<3,>=2.5", "2.13.0+cpu", ""),
        ("<3,>=2.5", "3.0.0", "3.0.0 is installed, <3 is needed"),
        ("<3,>=2.5", "2.4.1", "2.4.1 is installed, >=2.5 is needed"),
        (">=1", "", "not installed"),
        ("", "0.1", ""),
    ],
)
def test_problem_of_a_library(wanted: str, version: str, problem: str) -> None:
    assert Library("a", wanted, version).problem == problem


def test_every_extra_says_what_it_is_for() -> None:
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    extras = re.findall(r'^    "([a-z0-9]+)": \["', text, re.MULTILINE)
    assert "onnx" in extras
    assert set(extras) - {"docs"} == set(PURPOSES)


def test_this_installation_is_whole() -> None:
    found = examine_installation()
    assert not found.problems
    assert {"torch", "numpy", "lmdb"} <= {library.name for library in found.libraries}
    assert dict(found.machine)["torch"].startswith(importlib.metadata.version("torch"))
