"""The frame: help, versions, unknown verbs, exit statuses, start-up time."""

from __future__ import annotations

import importlib
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from pkgutil import iter_modules

import pytest

from caffecompat import __version__
from caffecompat.cli import commands
from caffecompat.cli.verbs import VERBS, parser_of, verb_module

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
    assert {name.replace("-", "_") for name in ALL} == {module.name for module in iter_modules(commands.__path__)}
    for group in (module.name for module in iter_modules(commands.__path__) if module.ispkg):
        parts = {module.name for module in iter_modules(verb_module(group).__path__)}
        assert {name.replace("-", "_") for name in parser_of(group).parts()} == parts


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "--model", "absent.prototxt", "deploy", "out"), "absent.prototxt: there is no such file"),
        (("--model", "absent.prototxt", "export", "deploy", "out"), "absent.prototxt: there is no such file"),
        (("--merge-bn", "--model", "absent.prototxt", "export", "deploy", "out"), "needs --weights"),
        (("lmdb", "--json", "info", "absent"), "absent"),
        (("--model=absent.prototxt", "export", "out", "deploy"), "invalid choice: 'out'"),  # the first of the words
    ],
)
def test_flags_may_stand_before_the_part_of_a_group(command, words, message):
    result = command(*words)
    assert result.status == 2 and message in result.err
    assert ("invalid choice" in message) == ("invalid choice" in result.err)


@pytest.mark.parametrize(
    ("words", "near"),
    [(("--names", "x", "lmdb", "bild"), "build"), (("export", "--target", "tidl", "onxx"), "onnx")],
)
def test_a_misspelled_part_is_complained_about_though_flags_come_first(command, words, near):
    result = command(*words)
    assert result.status == 2 and f"did you mean {near}?" in result.err


def test_an_interrupt_while_the_command_line_is_imported_is_one_word() -> None:
    script = """
import os, signal, sys
class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == "caffecompat.cli.common.outputs":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupter())
from caffecompat.__main__ import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("verb", LIGHT)
def test_file_verbs_start_without_torch(verb):
    script = (
        f"import sys; from caffecompat.cli.main import main\ntry: main(['{verb}', '--help'])\nexcept SystemExit: pass\n"
    )
    script += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_help_starts_without_the_schema():
    script = "import sys; from caffecompat.cli.main import main; main(['--help']); "
    script += "sys.exit('google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_debug_shows_the_traceback():
    words = [sys.executable, "-m", "caffecompat", "weights", "show", "none.caffemodel"]
    assert "Traceback" not in subprocess.run(words, capture_output=True, text=True).stderr
    assert "Traceback" in subprocess.run([*words, "--debug"], capture_output=True, text=True).stderr


def test_a_closed_pipe_is_no_error(tmp_path):
    command = f"{sys.executable} -m caffecompat --help | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert result.stderr == ""


def test_an_interrupt_waits_for_the_import(command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text(
        "import signal, time\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    time.sleep(0.3)\n"
        "except BaseException:\n"
        "    pass  # as some libraries do\n"
        "print('imported')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def run(args: object) -> int:
        importlib.import_module("slow_module")
        time.sleep(10)
        return 0

    monkeypatch.setattr("caffecompat.cli.commands.device_query.run", run)
    result = command("device_query")
    assert (result.status, result.out, result.err) == (130, "imported\n", "interrupted\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_does_not_wait_for_ever(command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "endless_module.py").write_text(
        "import signal, time\nsignal.raise_signal(signal.SIGINT)\ntime.sleep(20)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("caffecompat.cli.process._LONGEST_IMPORT", 0.2)
    monkeypatch.setattr(
        "caffecompat.cli.commands.device_query.run", lambda args: importlib.import_module("endless_module")
    )
    assert command("device_query").status == 130


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "caffecompat", "--help"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "error: the results cannot be written: No space left on device\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_streams_are_no_error(tmp_path: Path, closed: str) -> None:
    (tmp_path / "net.prototxt").write_text('layer { name: "i" type: "Input" top: "i" }')
    command = f'"{sys.executable}" -m caffecompat upgrade_net_proto_text net.prototxt new.prototxt {closed}'
    assert subprocess.run(command, shell=True, cwd=tmp_path).returncode == 0
    assert (tmp_path / "new.prototxt").read_text().startswith("layer {")


def test_what_the_system_refuses_is_one_line(command, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(args: object) -> int:
        raise PermissionError(13, "Permission denied", "secret.prototxt")

    monkeypatch.setattr("caffecompat.cli.commands.device_query.run", run)
    result = command("device_query")
    assert (result.status, result.err) == (2, "error: secret.prototxt: Permission denied\n")
    with pytest.raises(PermissionError):
        command("device_query", "--debug")


def test_a_flag_that_a_second_word_does_not_know_is_told_in_its_name(command) -> None:
    result = command("lmdb", "build", "list.txt", "db", "--resize-hight", "3")
    assert result.status == 2
    assert "caffecompat lmdb build: unrecognized arguments: --resize-hight" in result.err
    assert "did you mean --resize-height?" in result.err


def test_alone_it_shows_commands_that_there_are(command):
    """Every line of the first page starts a verb, with flags that the verb has."""
    shown = [line.partition("caffecompat ")[2] for line in command().out.splitlines()[1:-1] if "caffecompat " in line]
    assert len(shown) >= 9
    for line in shown:
        words = re.split(r" {3,}", line)[0].split()
        parser = parser_of(words[0])
        parser = parser.parts()[words[1]] if parser.parts() else parser
        page = parser.format_help()
        assert all(flag in page for flag in words if flag.startswith("--")), line
        assert not {"segment", "detect", "classify"} & {*words} - {*ALL}
