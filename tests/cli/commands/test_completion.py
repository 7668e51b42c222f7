"""The script for bash completes verbs, flags, parts of groups and values."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("shtab", reason="shtab is not installed")

_ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_shtab_caffecompat
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def completed(command, tmp_path: Path):
    """Ask bash what it offers for the last of these words."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    done = command("completion", "bash")
    assert done.status == 0
    (tmp_path / "script").write_text(done.out)

    def ask(*words: str) -> list[str]:
        call = ["bash", "-c", _ASK, "bash", str(tmp_path / "script"), "caffecompat", *words]
        return subprocess.run(call, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.split()

    return ask


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tr"], "train"),
        (["train", "--sol"], "--solver"),
        (["train", "--amp", "b"], "bf16"),
        (["export", "on"], "onnx"),
        (["export", "onnx", "--targ"], "--target"),
    ],
)
def test_bash(completed, words: list[str], offered: str) -> None:
    assert offered in completed(*words)


def test_files(completed, tmp_path: Path) -> None:
    (tmp_path / "solver.prototxt").touch()
    assert completed("train", "--solver", "sol") == ["solver.prototxt"]


def test_zsh(command) -> None:
    assert command("completion", "zsh").out.startswith("#compdef caffecompat")


def test_an_unknown_shell(command) -> None:
    assert "did you mean bash?" in command("completion", "bsh").err
