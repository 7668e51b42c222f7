"""A small segmentation training folder, and the command line called in this process."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import pytest

from caffecompat.cli.main import main


@dataclass
class Result:
    """What a command left: exit status, results, messages."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(capsys):
    """Run ``caffecompat`` with these words."""

    def run(*words: object) -> Result:
        capsys.readouterr()
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run


@pytest.fixture
def streets(tmp_path, golden, monkeypatch):
    """The recorded segmentation set: lists, images, labels, two-stage nets; the current directory is its train/."""
    shutil.copytree(golden / "segmentation", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "train")
    return tmp_path
