"""`doctor` names what is missing and what to install."""

from __future__ import annotations

import importlib.metadata

import pytest


def test_what_is_missing(command, monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name in ("lmdb", "matplotlib"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    monkeypatch.setenv("CAFFECOMPAT_FORK", "xilinx")
    done = command("doctor")
    assert done.status == 1
    assert "lmdb: not installed" in done.out.splitlines()[-1]
    assert "matplotlib not installed; pip install 'caffecompat[plot]'" in done.out
    assert "CAFFECOMPAT_FORK=xilinx" in done.out
