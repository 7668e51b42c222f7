"""Names out of files on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from caffecompat.printable import printable, printable_lines

NASTY = "\x1b[31mred\x1b]0;title\x07\x9b1m\u202egnp.\x7f"
SHOWN = "\\x1b[31mred\\x1b]0;title\\x07\\x9b1m\\u202egnp.\\x7f"
WRITTEN = "".join(f"\\{byte:03o}" for byte in NASTY.encode())  # as a prototxt writes it
NET = f"""
layer {{ name: "in" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 3 dim: 8 dim: 8 }} }} }}
layer {{ name: "{WRITTEN}" type: "ReLU" bottom: "data" top: "Größe" }}
"""


def test_controls_become_escapes_and_text_stays() -> None:
    assert printable_lines(f"{NASTY}\n\tlabel 数字 é\n") == f"{SHOWN}\n\tlabel 数字 é\n"
    assert printable("a\nb\tc\r") == "a\\nb\\tc\\r"


def run(words: list[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "caffecompat", *words]
    return subprocess.run(command, capture_output=True, env=os.environ | environment, check=False)


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    (tmp_path / "other.prototxt").write_text(NET.replace("ReLU", "Sigmoid"))
    return path


@pytest.mark.parametrize(
    "words",
    [
        ["summary", "net.prototxt"],
        ["diff", "net.prototxt", "other.prototxt"],
        ["time", "--model", "net.prototxt", "--iterations", "1"],
        ["summary", "no\x1b[2Jsuch.prototxt"],
    ],
    ids=lambda words: words[0],
)
def test_no_verb_sends_an_escape_sequence(net: Path, words: list[str]) -> None:
    result = run(words)
    assert b"\\x1b[" in result.stdout + result.stderr
    assert not {*b"\x1b\x07\x7f"} & {*result.stdout, *result.stderr}


def test_a_terminal_gets_the_commands_own_colors_alone(net: Path) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "caffecompat", "diff", "net.prototxt", "other.prototxt"]
    with subprocess.Popen(command, stdout=follower, env=os.environ | {"NO_COLOR": ""}) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:  # the end of a terminal
                break
            if not part:
                break
            shown += part
        process.wait()
    os.close(leader)
    assert b"\x1b[33m" in shown and b"\x1b[31mred" not in shown and b"\\x1b[31mred" in shown


def test_what_the_locale_cannot_show_is_an_escape(net: Path) -> None:
    result = run(["summary", "net.prototxt"], PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert b"Gr\\xf6\\xdfe" in result.stdout


def test_a_script_prints_what_it_wants(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("print('\\x1b[1mbold')")
    assert run(["run", str(tmp_path / "script.py")]).stdout == b"\x1b[1mbold\n"
