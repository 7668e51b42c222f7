"""A Python layer whose code is not here costs that layer alone where a net is only looked at."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from caffecompat.net import NetError, load_net

NET = """name: "p"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "py" type: "Python" bottom: "conv1" top: "py" python_param { module: "MODULE" layer: "Foo" } }
layer { name: "conv2" type: "Convolution" bottom: "py" top: "conv2"
        convolution_param { num_output: 4 kernel_size: 3 } }
"""
DATA = """
layer { name: "data" type: "Python" top: "data" top: "label" python_param { module: "nowhere_to_be_found" layer: "L" } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv1" bottom: "label" top: "loss" }
"""
CODE = {
    "nowhere_to_be_found": (None, "there is no Python module 'nowhere_to_be_found'"),
    "imports_nothing": ("import no_such_thing\n", "module 'imports_nothing' cannot be imported"),
    "python_two": ("print 'x'\n", "is it Python 2 code?"),
    "no_class": ("x = 1\n", "has no class 'Foo'"),
    "setup_raises": (
        "import caffe\nclass Foo(caffe.Layer):\n    def setup(self, bottom, top): open('/no/such/file')\n",
        "its setup raises FileNotFoundError",
    ),
}


def net_with(module: str, folder: Path) -> Path:
    code = CODE[module][0]
    if code is not None:
        (folder / f"{module}.py").write_text(code)
    sys.modules.pop(module, None)
    path = folder / "net.prototxt"
    path.write_text(NET.replace("MODULE", module))
    return path


@pytest.mark.parametrize("module", CODE)
def test_summary_has_the_other_layers(command, tmp_path: Path, module: str) -> None:
    result = command("summary", str(net_with(module, tmp_path)))
    assert result.status == 0, result.err
    assert "conv2 1x4x12x12" in result.out
    [note] = [line for line in result.out.splitlines() if line.startswith("note ")]
    assert "layer 'py' (Python)" in note and CODE[module][1] in note and "its first bottom's shape" in note


def test_json_has_the_note(command, tmp_path: Path) -> None:
    result = command("summary", str(net_with("no_class", tmp_path)), "--json")
    assert "layer 'py' (Python)" in json.loads(result.out)["notes"][0]


def test_the_other_verbs_that_look(command, tmp_path: Path) -> None:
    path = net_with("nowhere_to_be_found", tmp_path)
    for words in (
        ["check", str(path), "--target", "dpu"],
        ["check", str(path), "--target", "tidl"],
        ["export", "deploy", "--model", str(path), str(tmp_path / "out") + "/"],
        ["draw", str(path), str(tmp_path / "net.svg")],
    ):
        result = command(*words)
        assert result.status in (0, 1) and "error" not in result.err, result.err
        assert words[0] == "draw" or "there is no Python module 'nowhere_to_be_found'" in result.out
    assert 'type: "Python"' in (tmp_path / "out" / "deploy.prototxt").read_text()
    other = tmp_path / "other.prototxt"
    other.write_text(path.read_text().replace("num_output: 4", "num_output: 5"))
    result = command("diff", str(path), str(other))
    assert result.status == 1 and "there is no Python module" in result.out and "not built" not in result.out


def test_a_data_layer_in_python_needs_the_size(command, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(DATA)
    refused = command("summary", str(path))
    assert refused.status == 2 and "give --size WIDTHxHEIGHT" in refused.err
    result = command("summary", str(path), "--size", "20x10")
    assert result.status == 0, result.err
    assert "data 1x3x10x20" in result.out and "label 1x1x10x20" in result.out


def test_what_computes_still_needs_the_code(command, tmp_path: Path) -> None:
    path = net_with("nowhere_to_be_found", tmp_path)
    assert command("time", "--model", str(path), "--iterations", "1").status == 2
    with pytest.raises(NetError, match="there is no Python module"):
        load_net(path)
