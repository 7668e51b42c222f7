"""No verb writes over what it reads."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.cli.common.flags import FlagParser
from caffecompat.cli.common.outputs import Output
from caffecompat.cli.main import VERBS
from caffecompat.formats.atomic import WriteError, atomic_write, protected_files

_NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "norm" }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: a net and its weights, deploy.prototxt and deploy.caffemodel."""
    from caffecompat.net import Net
    from caffecompat.schema import open_net, pb

    monkeypatch.chdir(tmp_path)
    Path("deploy.prototxt").write_text(_NET)
    Net(open_net("deploy.prototxt"), pb.TEST, log=False).save("deploy.caffemodel")
    return tmp_path


def _symbolic(path: str) -> str:
    os.symlink(path, f"link_{path}")
    return f"link_{path}"


def _hard(path: str) -> str:
    os.link(path, f"hard_{path}")
    return f"hard_{path}"


SPELLINGS: list[Callable[[str], str]] = [lambda path: path, lambda path: f"./{path}", os.path.abspath, _symbolic, _hard]


@pytest.mark.parametrize("spelled", SPELLINGS)
@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("merge-bn deploy.prototxt deploy.caffemodel {} new.caffemodel", "deploy.prototxt"),
        ("merge-bn deploy.prototxt deploy.caffemodel new.prototxt {}", "deploy.caffemodel"),
        ("weights convert deploy.caffemodel {}", "deploy.caffemodel"),
        ("draw deploy.prototxt {}", "deploy.prototxt"),
        ("export onnx --model deploy.prototxt --weights deploy.caffemodel {}", "deploy.prototxt"),
        ("export torch --model deploy.prototxt --weights deploy.caffemodel {}", "deploy.caffemodel"),
        ("diff deploy.prototxt deploy.prototxt --html {}", "deploy.prototxt"),
        ("classify deploy.prototxt deploy.caffemodel in.npy --output {}", "in.npy"),
    ],
)
def test_an_output_that_is_an_input(
    command: Callable, folder: Path, words: str, target: str, spelled: Callable[[str], str]
) -> None:
    np.save("in.npy", np.zeros((1, 4, 4, 2), np.float32))
    before = Path(target).read_bytes()
    result = command(*words.format(spelled(target)).split())
    assert result.status == 2
    assert Path(target).read_bytes() == before
    assert not list(folder.glob("new.*"))


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (
            "export onnx --model deploy.prototxt --weights deploy.caffemodel other.prototxt",
            "an ONNX file would be written",
        ),
        ("export onnx --model deploy.prototxt other.caffemodel", "expected .onnx"),
        (
            "merge-bn deploy.prototxt deploy.caffemodel m.caffemodel m.prototxt",
            "'m.caffemodel' has the ending of a file of weights",
        ),
        ("weights convert deploy.caffemodel m.prototxt", "'m.prototxt' has the ending of a prototxt"),
        ("draw deploy.prototxt net.onnx", "a picture would be written to it"),
        ("upgrade_net_proto_text deploy.prototxt deploy.caffemodel", "a prototxt would be written to it"),
    ],
)
def test_endings_of_other_kinds(command: Callable, folder: Path, words: str, what: str) -> None:
    weights = Path("deploy.caffemodel").read_bytes()
    for name in ("other.prototxt", "other.caffemodel", "m.prototxt", "net.onnx"):
        Path(name).write_text("mine")
    result = command(*words.split())
    assert result.status == 2 and what in result.err
    assert all(Path(name).read_text() == "mine" for name in ("other.prototxt", "other.caffemodel", "m.prototxt"))
    assert Path("deploy.caffemodel").read_bytes() == weights


def test_export_deploy_into_the_folder_of_its_files(command: Callable, folder: Path) -> None:
    before = Path("deploy.prototxt").read_bytes(), Path("deploy.caffemodel").read_bytes()
    for out in (".", "./", "deploy", folder):
        result = command("export", "deploy", "--model", "deploy.prototxt", "--weights", "deploy.caffemodel", out)
        assert result.status == 2 and "is read as deploy.prototxt" in result.err
    os.symlink(".", "elsewhere")
    shutil.copyfile("deploy.prototxt", "net.prototxt")  # only the weights collide
    result = command("export", "deploy", "--model", "net.prototxt", "--weights", "deploy.caffemodel", "elsewhere/")
    assert result.status == 2 and "is read as deploy.caffemodel" in result.err
    assert (Path("deploy.prototxt").read_bytes(), Path("deploy.caffemodel").read_bytes()) == before
    assert command("export", "deploy", "--model", "deploy.prototxt", "new/").status == 0


def test_names_made_on_the_way_hit_no_input(command: Callable, folder: Path) -> None:
    os.mkdir("out")
    np.save("out/conv.npy", np.ones((1, 2, 4, 4), np.float32))
    before = Path("out/conv.npy").read_bytes()
    result = command("dump-blobs", "deploy.prototxt", "deploy.caffemodel", "out", "--input", "out/conv.npy")
    assert result.status == 2 and "out/conv.npy is not written over" in result.err
    assert Path("out/conv.npy").read_bytes() == before


def test_a_second_array_may_be_an_input(command: Callable, folder: Path) -> None:
    for name in "ab":
        np.save(f"{name}.npy", np.zeros((1, 4, 4, 2), np.float32))
    before = Path("b.npy").read_bytes()
    result = command("classify", "--model", "deploy.prototxt", "--weights", "deploy.caffemodel", "a.npy", "b.npy")
    assert result.status == 2 and "b.npy is there already" in result.err
    assert Path("b.npy").read_bytes() == before


def test_a_command_can_be_run_again(command: Callable, folder: Path) -> None:
    """Its own results of last time are no inputs."""
    for words in (
        "export onnx --model deploy.prototxt --weights deploy.caffemodel new.onnx",
        "weights convert deploy.caffemodel new.npz",
    ):
        for _ in range(2):
            assert command(*words.split()).status == 0


def test_upgrading_in_place_is_allowed(command: Callable, folder: Path) -> None:
    Path("old.prototxt").write_text('layers { name: "i" type: RELU bottom: "x" top: "y" }')
    assert command("upgrade_net_proto_text", "old.prototxt", "old.prototxt").status == 0
    assert 'type: "ReLU"' in Path("old.prototxt").read_text()
    Path("solver.prototxt").write_text('net: "n" solver_type: ADAM')
    assert command("upgrade_solver_proto_text", "solver.prototxt", "./solver.prototxt").status == 0
    assert 'type: "Adam"' in Path("solver.prototxt").read_text()
    assert command("upgrade_net_proto_binary", "deploy.caffemodel", "deploy.caffemodel").status == 0


def test_protection_ends_with_the_context(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("old")
    with protected_files([str(file)]), pytest.raises(WriteError, match="is not written over"), atomic_write(file):
        pass
    assert file.read_text() == "old"
    with atomic_write(file) as opened:
        opened.write(b"new")
    assert file.read_text() == "new"


def _parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for verb in (name for names in VERBS.values() for name in names):
        parser = FlagParser(prog=verb)
        importlib.import_module(f"caffecompat.cli.commands.{verb.replace('-', '_')}").add_flags(parser)
        yield verb, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from ((f"{verb} {name}", sub) for name, sub in action.choices.items())


def test_flags_that_name_an_output_say_so() -> None:
    """A folder or database that must not exist is safe as it is; demo works in a folder of its own."""
    makes_new = {
        "lmdb build",
        "lmdb split",
        "convert_imageset",
        "convert_annoset",
        "extract_features",
        "video frames",
        "demo",
    }
    for verb, parser in _parsers():
        for action in parser._actions:
            name = action.dest
            if verb in makes_new or not name.startswith(("out", "save", "html", "confusion")):
                continue
            if action.help == argparse.SUPPRESS:  # another command's flag, taken without effect
                continue
            assert callable(action.type) and isinstance(action.type("x"), Output), f"{verb}: {name}"  # type: ignore[operator]


@pytest.mark.parametrize("given", ["db", "db/image"])
@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_the_files_of_a_database_are_not_written_over(
    command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, backend: str
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"lmdb": ["data.mdb", "lock.mdb"], "leveldb": ["CURRENT", "MANIFEST-000002", "000005.ldb", "000003.log"]}
    Path("db/image").mkdir(parents=True)
    for name in names[backend]:
        Path("db/image", name).write_text(name)
    for name in names[backend]:
        result = command("compute_image_mean", given, f"db/image/{name}")
        assert result.status == 2 and f"db/image/{name} is read" in result.err
        assert Path("db/image", name).read_text() == name
    assert "is read" not in command("compute_image_mean", given, "db/image/mean.binaryproto").err


# ---------------------------------------------------------------- folders of pictures

_RUN = ["--model", "none.prototxt", "--weights", "none.caffemodel"]


def _pictures(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize("verb", ["segment", "detect"])
@pytest.mark.parametrize(
    ("given", "out", "relation"),
    [
        ("photos", "photos", "is"),
        ("photos/", "./photos", "is"),
        ("photos", "link", "is"),
        ("link", "photos", "is"),
        (".", "photos", "lies in"),
        ("photos", "photos/new/deeper", "lies in"),
        ("photos", "link/new", "lies in"),
        ("photos/summer", "photos", "contains"),
        ("photos/summer", ".", "contains"),
        ("link/summer", "photos", "contains"),
        ("photos", "..", "contains"),
    ],
)
def test_folders_that_lie_in_each_other(
    command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, given: str, out: str, relation: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _pictures("photos/a.png", "photos/summer/b.jpg")
    os.symlink("photos", "link")
    result = command(verb, *_RUN, given, "--out", out)
    assert result.status == 2
    assert f"--out {out} {relation} the folder that is read, {given}" in result.err
    assert sorted(os.listdir("photos")) == ["a.png", "summer"]


@pytest.mark.parametrize("verb", ["segment", "detect"])
@pytest.mark.parametrize("given", ["photos/a.png", "photos/../photos/a.png", "hard/a.png", "soft/a.png", "soft"])
def test_a_picture_that_would_be_written_over(
    command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _pictures("photos/a.png")
    for name in ("hard", "soft"):
        os.mkdir(name)
    os.link("photos/a.png", "hard/a.png")
    os.symlink("../photos/a.png", "soft/a.png")
    result = command(verb, *_RUN, given, "--out", "photos")
    assert result.status == 2 and "photos/a.png is read" in result.err


@pytest.mark.parametrize(
    ("verb", "more", "there"),
    [
        ("segment", [], "a.png"),
        ("segment", ["--raw"], "a_classes.png"),
        ("segment", ["--colors"], "a_colors.png"),
        ("detect", [], "a.png"),
    ],
)
def test_what_lies_beside_an_input_is_not_written_over(
    command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, more: list[str], there: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _pictures("a.jpg", there)
    result = command(verb, *_RUN, *more, "a.jpg", "--out", ".")
    assert result.status == 2 and f"{there} is there already" in result.err
    os.remove(there)
    assert "none.prototxt" in command(verb, *_RUN, *more, "a.jpg", "--out", ".").err


@pytest.mark.parametrize("verb", ["segment", "detect"])
@pytest.mark.parametrize(("given", "out"), [("photos", "found"), ("photos/a.png", "found"), ("photos", "photos2")])
def test_other_folders_are_fine(
    command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, given: str, out: str
) -> None:
    """The net is not there, which is what is complained about."""
    monkeypatch.chdir(tmp_path)
    _pictures("photos/a.png", "found/a.png")
    result = command(verb, *_RUN, given, "--out", out)
    assert result.status == 2 and "none.prototxt" in result.err
