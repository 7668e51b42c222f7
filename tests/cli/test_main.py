"""The frame: help, versions, unknown verbs, exit statuses, start-up time."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import caffecompat.cli
from caffecompat import __version__
from caffecompat.cli.main import VERBS

ALL = [name for names in VERBS.values() for name in names]
LIGHT = [
    "convert_imageset", "compute_image_mean", "lmdb", "weights", "upgrade_net_proto_text", "upgrade_net_proto_binary",
    "upgrade_solver_proto_text",
]  # fmt: skip


def test_help_lists_every_verb(command):
    result = command("--help")
    assert result.status == 0
    assert all(f"  {name} " in result.out for name in ALL)


@pytest.mark.parametrize("verb", ALL)
def test_every_verb_has_help(command, verb):
    with pytest.raises(SystemExit) as stopped:
        command(verb, "--help")
    assert stopped.value.code == 0


def test_every_verb_module_is_listed():
    modules = {path.stem for path in Path(caffecompat.cli.__path__[0]).glob("*.py")}
    verbs = {name for name in modules if hasattr(importlib.import_module(f"caffecompat.cli.{name}"), "HELP")}
    second_words = ("eval_", "export_", "lmdb_", "weights_")
    parts = {name for name in verbs if name.startswith(second_words)}
    assert {name.replace("-", "_") for name in ALL} == verbs - parts


def test_version(command):
    assert command("--version").out == f"caffecompat {__version__}\n"


def test_no_verb_and_unknown_verbs(command):
    assert command().status == 2
    wrong = command("trian")
    assert wrong.status == 2
    assert "did you mean train?" in wrong.err


def test_flags_may_stand_before_the_verb(command):
    result = command("--solver", "none.prototxt", "train")
    assert result.status == 2
    assert "none.prototxt" in result.err


@pytest.mark.parametrize("verb", LIGHT)
def test_file_verbs_start_without_torch(verb):
    script = (
        f"import sys; from caffecompat.cli.main import main\ntry: main(['{verb}', '--help'])\nexcept SystemExit: pass\n"
    )
    script += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_debug_shows_the_traceback():
    words = [sys.executable, "-m", "caffecompat", "weights", "show", "none.caffemodel"]
    assert "Traceback" not in subprocess.run(words, capture_output=True, text=True).stderr
    assert "Traceback" in subprocess.run([*words, "--debug"], capture_output=True, text=True).stderr


def test_a_closed_pipe_is_no_error(tmp_path):
    command = f"{sys.executable} -m caffecompat --help | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert result.stderr == ""
