"""Python layers on the command line: nothing of theirs runs where a net is only looked at."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from caffecompat import load_net
from caffecompat.net import NetError

NET = """name: "p"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "py" type: "Python" bottom: "conv1" top: "py" python_param { module: "MODULE" layer: "Foo" } }
layer { name: "conv2" type: "Convolution" bottom: "py" top: "conv2"
        convolution_param { num_output: 4 kernel_size: 3 } }
"""
DATA = """
layer { name: "data" type: "Python" top: "data" top: "label" python_param { module: "leaves_a_trace" layer: "L" } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv1" bottom: "label" top: "loss" }
"""
FOO = """
import caffe
class Foo(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top): top[0].data[...] = bottom[0].data
"""
CODE = {  # None: there is no such file
    "nowhere_to_be_found": None,
    "leaves_a_trace": f"open('RAN', 'w').close()\n{FOO}",
    "python_two": "print 'x'\n",
    "random": f"open('RAN', 'w').close()\n{FOO}",
}
LOOKING = (
    ["summary", "NET"],
    ["check", "NET", "--target", "dpu"],
    ["check", "NET", "--target", "tidl"],
    ["diff", "NET", "OTHER"],
    ["diff", "NET", "OTHER", "--html", "diff.html"],
    ["draw", "NET", "net.svg"],
    ["export", "deploy", "--model", "NET", "out/"],
    ["export", "onnx", "--model", "NET", "net.onnx"],
    ["export", "torch", "--model", "NET", "net.py"],
    ["weights", "convert", "weights.npz", "net.caffemodel", "--model", "NET", "--allow-missing"],
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("leaves_a_trace", "python_two"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def net_with(module: str, text: str = NET) -> str:
    code = CODE[module]
    if code is not None:
        Path(f"{module}.py").write_text(code)
    Path("net.prototxt").write_text(text.replace("MODULE", module))
    return "net.prototxt"


@pytest.mark.parametrize("module", CODE)
def test_summary_has_the_other_layers(command, module: str) -> None:
    result = command("summary", net_with(module))
    assert result.status == 0, result.err
    assert "conv2 1x4x12x12" in result.out
    [note] = [line for line in result.out.splitlines() if line.startswith("note ")]
    assert "layer 'py' (Python): opaque" in note and "its first bottom's shape" in note and "--python-shape py=" in note
    assert not Path("RAN").exists()


def test_json_has_the_note(command) -> None:
    result = command("summary", net_with("leaves_a_trace"), "--json")
    assert "layer 'py' (Python)" in json.loads(result.out)["notes"][0]


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
def test_looking_runs_nothing(command, words: list[str]) -> None:
    import numpy as np

    names = {"NET": net_with("leaves_a_trace"), "OTHER": "other.prototxt"}
    Path("other.prototxt").write_text(Path("net.prototxt").read_text().replace("num_output: 4", "num_output: 5"))
    np.savez("weights.npz", **{"conv1.weight": np.zeros((4, 3, 3, 3), "f")})
    command(*[names.get(word, word) for word in words])
    assert not Path("RAN").exists() and "leaves_a_trace" not in sys.modules


@pytest.mark.parametrize("form", ["deploy", "onnx", "torch"])
def test_export_refuses_an_opaque_layer_by_name(command, form: str) -> None:
    out = {"deploy": "out/", "onnx": "net.onnx", "torch": "net.py"}[form]
    result = command("export", form, "--model", net_with("leaves_a_trace"), out)
    assert result.status in (1, 2) and "py" in result.err and "opaque" in result.err
    assert not any(map(Path.exists, map(Path, ("out", "net.onnx", "net.py"))))


def test_the_shape_of_an_opaque_layer_can_be_given(command) -> None:
    path = net_with("nowhere_to_be_found")
    result = command("summary", path, "--python-shape", "py=1x7x5x5")
    assert result.status == 0 and "py 1x7x5x5" in result.out and "conv2 1x4x3x3" in result.out
    assert "note " not in result.out
    result = command("export", "deploy", "--model", path, "out/", "--python_shape=py=1x7x5x5")
    assert result.status == 0, result.err
    assert 'type: "Python"' in Path("out/deploy.prototxt").read_text()
    assert "gives 2 shapes, the layer has 1 tops" in command("summary", path, "--python-shape", "py=1x7,1").err
    assert "--python-shape pi had no effect" in command("summary", path, "--python-shape", "pi=1x7").err
    assert "expected LAYER=SHAPE" in command("summary", path, "--python-shape", "1x7").err


def test_a_layers_file_can_have_the_shape(command) -> None:
    Path("shapes.py").write_text(
        "from caffecompat.layers import Layer, python_shape, register\n"
        "@python_shape('nowhere_to_be_found', 'Foo')\n"
        "def foo(param_str, bottoms):\n"
        "    n, c, h, w = bottoms[0]\n"
        "    return [(n, c, h // 2, w // 2)]\n"
    )
    result = command("summary", net_with("nowhere_to_be_found"), "--layers", "shapes.py")
    assert result.status == 0, result.err
    assert "py 1x4x7x7" in result.out and "opaque" not in result.out


def test_a_data_layer_in_python_needs_shapes_or_the_size(command) -> None:
    path = net_with("leaves_a_trace", DATA)
    refused = command("summary", path)
    assert refused.status == 2 and "--python-shape data=1x3x224x224,1, or --size WIDTHxHEIGHT" in refused.err
    result = command("summary", path, "--size", "20x10")
    assert result.status == 0, result.err
    assert "data 1x3x10x20" in result.out and "label 1x1x10x20" in result.out
    result = command("summary", path, "--python-shape", "data=2x3x8x8,2x1x8x8")
    assert result.status == 0 and "data 2x3x8x8" in result.out and "label 2x1x8x8" in result.out


def test_what_computes_runs_the_code(command) -> None:
    path = net_with("leaves_a_trace")
    assert command("time", "--model", path, "--iterations", "1").status == 0
    assert Path("RAN").exists()


def test_what_computes_needs_the_code(command) -> None:
    path = net_with("nowhere_to_be_found")
    assert command("time", "--model", path, "--iterations", "1").status == 2
    with pytest.raises(NetError, match="there is no Python module"):
        load_net(path)


def test_python_layers_can_be_refused(command) -> None:
    path = net_with("leaves_a_trace")
    result = command("time", "--model", path, "--iterations", "1", "--no-python-layers")
    assert result.status == 2 and "layer 'py' (Python): runs the code of leaves_a_trace.Foo" in result.err
    with pytest.raises(NetError, match="does not allow"):
        load_net(path, python_layers=False)
    assert not Path("RAN").exists()


def test_pycaffe_has_the_same_switch() -> None:
    import caffecompat.pycaffe as caffe

    path = net_with("leaves_a_trace")
    with pytest.raises(NetError, match="does not allow"):
        caffe.Net(path, caffe.TEST, python_layers=False)
    Path("solver.prototxt").write_text(f'net: "{path}" base_lr: 0.1 lr_policy: "fixed"')
    for make in (caffe.SGDSolver, caffe.get_solver):
        with pytest.raises(NetError, match="does not allow"):
            make("solver.prototxt", python_layers=False)
    assert not Path("RAN").exists()


def test_the_current_folder_is_not_searched_but_where_it_is_named(command) -> None:
    Path("nets").mkdir()
    Path("nets/net.prototxt").write_text(NET.replace("MODULE", "leaves_a_trace"))
    Path("leaves_a_trace.py").write_text(CODE["leaves_a_trace"] or "")
    result = command("time", "--model", "nets/net.prototxt", "--iterations", "1")
    assert result.status == 2 and "there is one in the current folder: --python-path ." in result.err
    assert not Path("RAN").exists()
    assert command("time", "--model", "nets/net.prototxt", "--iterations", "1", "--python-path", ".").status == 0
    assert Path("RAN").exists()
    assert "no such folder" in command("time", "--model", "nets/net.prototxt", "--python-path", "missing").err
