"""Layers and blobs of any name in a net's own code and in exported torch files."""

from __future__ import annotations

import copy
import keyword
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from caffecompat.deploy.torch_source.source import TorchSource, load_source, make_source, write_source
from caffecompat.net import Net
from tests.net.nets import make_net

KINDS = {
    "mangled in a class": ["__conv", "___conv", "__conv_", "_Net__conv"],
    "Python's own": ["__init__", "__call__", "__class__", "__dict__", "__deepcopy__", "__getstate__", "__len__"],
    "keywords": [*keyword.kwlist, *keyword.softkwlist],
    "of a module": ["_modules", "_parameters", "_buffers", "training", "forward", "eval", "to", "state_dict", "type"],
    "of torch's traces": ["graph", "code", "_code", "_graph", "meta", "recompile"],
    "of the file": [
        "self",
        "torch",
        "nn",
        "F",
        "Tensor",
        "Path",
        "math",
        "Sequence",
        "load",
        "WEIGHTS",
        "Net",
        "x",
        "x_",
    ],
    "of functions": ["affine", "max_pool", "Window", "lstm", "range", "int", "dict", "sum", "operator", "getitem"],
    "no letters": ["", "_", "__", "-", "/", "\u65e5\u672c", "\u200b", "{0}", "{self}", "{}", "%s"],
    "letters beyond ASCII": ["\u00e4", "\ufb01", "\u00aa", "e\u0301", "conv\u00b2"],
    "alike afterwards": ["a/b", "a.b", "a b", "a_b", "a-b", "a_b_", "a_b_2", "a\tb", "A_B"],
    "figures and quotes": ["1x1", "1_x", "_1x1", 'q"q', "q'q", "b\\n", "x" * 300, "l", "I", "O"],
}


def _quoted(name: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in name.encode())


def _net(layers: list[str], blobs: list[str]) -> Net:
    """A chain of layers with weights, which ends in the blob `end`."""
    text = 'name: "Net" layer { name: "in" type: "Input" top: "start" input_param { shape { dim: 2 dim: 3 dim: 4 } } }'
    for layer, bottom, top in zip(layers, ["start", *blobs], [*blobs, "end"], strict=True):
        text += (
            f'layer {{ name: "{_quoted(layer)}" type: "Scale" bottom: "{_quoted(bottom)}" top: "{_quoted(top)}" '
            'scale_param { filler { type: "uniform" min: 0.9 max: 1.1 } bias_term: true } }'
        )
    return make_net(text)


@pytest.fixture(params=KINDS)
def net(request: pytest.FixtureRequest) -> Net:
    names = KINDS[request.param]
    return _net([*names, "last"], names)


def _written(source: TorchSource, folder: Path) -> nn.Module:
    write_source(source, f"{folder}/made.py")
    made: nn.Module = load_source(f"{folder}/made.py")
    return made


def test_files_load_and_compute_the_same(net: Net, tmp_path: Path) -> None:
    x = torch.randn(2, 3, 4)
    made = _written(make_source(net), tmp_path)
    assert not made.training
    with torch.no_grad():
        wanted = net(x)["end"]
        for other in (made, copy.deepcopy(made), torch.fx.symbolic_trace(made)):
            torch.testing.assert_close(other(x), wanted, rtol=1e-6, atol=1e-6)
    assert len(made.state_dict()) == len(list(net.parameters()))


def test_nets_copy_pickle_and_show_their_code(net: Net) -> None:
    x = torch.randn(2, 3, 4)
    compile(net.code, "code", "exec")
    with torch.no_grad():
        wanted = net(x)["end"]
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert torch.equal(other(x)["end"], wanted)
    assert not any(part.startswith("__") for key in net.state_dict() for part in key.split("."))


def test_a_layer_that_begins_with_two_underscores(tmp_path: Path) -> None:
    source = make_source(_net(["__conv"], []))
    assert list(source.state) == ["_conv.weight", "_conv.bias"] and "self.__" not in source.text
    assert "_conv.weight" in _written(source, tmp_path).state_dict()


@pytest.mark.parametrize("name", ["class", "none", "true", "Tensor", "1st net", "\u65e5\u672c", "", 'a\\"""b', "F"])
def test_nets_of_any_name(name: str, tmp_path: Path) -> None:
    text = f'name: "{_quoted(name)}" layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 2 }} }} }}'
    source = make_source(
        make_net(text + 'layer { name: "y" type: "ReLU" bottom: "x" top: "y" }'), 'a \\ """ net.prototxt'
    )
    assert _written(source, tmp_path)(torch.tensor([-1.0, 2.0])).tolist() == [0, 2]
