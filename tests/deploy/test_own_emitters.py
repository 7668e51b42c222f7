"""Emitters in a user's file of layers: what the exports take from it, and what can be wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caffecompat.deploy.onnx.emission import emitters as onnx_emitters
from caffecompat.deploy.onnx.write import export_onnx
from caffecompat.deploy.torch_source.emission import emitters as torch_emitters
from caffecompat.deploy.torch_source.write import export_torch
from caffecompat.errors import CaffeCompatError
from caffecompat.layers import registry
from caffecompat.layers.user_layers import load_layers
from tests.net.nets import message

FILE = """
import math
import os

import numpy as np
from torch import Tensor, nn

from caffecompat.deploy.onnx import emission as onnx
from caffecompat.deploy.torch_source import emission as source
from caffecompat.layers import Layer, register


def twice(x: Tensor) -> Tensor:
    return 2 * x


def four_times(x: Tensor) -> Tensor:
    return twice(twice(x)) * math.cos(0)


def top_k(x: Tensor) -> Tensor:
    return x


def with_numpy(x: Tensor) -> Tensor:
    return x * float(np.float32(4))


class Quadruple(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return four_times(x)


@register("Quadruple")
class QuadrupleLayer(Layer):
    def forward(self, bottom):
        return 4 * bottom


@onnx.emits("Quadruple")
def to_onnx(e):
    ONNX


@source.emits("Quadruple")
def to_source(view):
    SOURCE
"""
ONNX = "e.scaled(e.bottoms[0], 4, 0, e.tops[0])"
SOURCE = 'return source.Emitted("Quadruple()")'
NET = """name: "n"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "twice" type: "Quadruple" bottom: "data" top: "four_times" }
"""


def _line(text: str) -> int:
    """The number of the first line of the file with that text."""
    return next(number for number, line in enumerate(FILE.splitlines(), 1) if text in line)


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Loads a file of layers with these bodies of the emitters; what it registers is gone after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    for emitters in (onnx_emitters, torch_emitters):
        monkeypatch.setattr(emitters, "by_type", dict(emitters.by_type))

    def load(onnx: str = ONNX, source: str = SOURCE, file: str = "own.py") -> None:
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text(FILE.replace("ONNX", onnx).replace("SOURCE", source))
        assert load_layers(file) == ["Quadruple"]

    before = set(sys.modules)
    yield load
    for name in set(sys.modules) - before:
        if name.startswith("caffecompat_user_"):
            del sys.modules[name]


def test_what_a_class_uses_comes_with_it_and_names_stay_free(layers: Callable[..., None]) -> None:
    layers()
    assert export_onnx(message(NET), None, "net.onnx").differences[0].relative == 0
    assert export_torch(message(NET), None, "net.py").differences[0].relative == 0
    text = Path("net.py").read_text()
    order = [text.index(f"{kind}(") for kind in ("def twice", "def four_times", "class Quadruple", "class N")]
    assert order == sorted(order) and "import math" in text
    assert "four_times_ = self.twice(data)" in text, "names of its functions are no names of blobs"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ('return source.Emitted(call="top_k({0})")', "another function is called 'top_k'"),
        ('return source.Emitted(call="x({0})")', "a function 'x' that is not in the same file"),
        ('return source.Emitted(call="with_numpy({0})")', "name 'np' is not defined"),
        ('return source.Emitted(call="5 * {0}")', "it computes something else"),
        ("return view.module.no_such", f"own.py:{_line('SOURCE')}: AttributeError"),
    ],
)
def test_mistakes_in_torch_source_leave_no_file(layers: Callable[..., None], source: str, problem: str) -> None:
    layers(source=source)
    with pytest.raises(CaffeCompatError) as caught:
        export_torch(message(NET), None, "net.py")
    assert problem in str(caught.value)
    assert not Path("net.py").exists() and not Path("net.pt").exists()


@pytest.mark.parametrize(
    ("onnx", "problem"),
    [
        ("e.scaled(e.bottoms[0], 5, 0, e.tops[0])", "it computes something else"),
        ('e.op("Mul", e.bottoms[0], to=e.top)', f"own.py:{_line('ONNX')}: AttributeError"),
    ],
)
def test_mistakes_in_onnx_leave_no_file(layers: Callable[..., None], onnx: str, problem: str) -> None:
    layers(onnx=onnx)
    with pytest.raises(CaffeCompatError) as caught:
        export_onnx(message(NET), None, "net.onnx")
    assert problem in str(caught.value)
    assert not Path("net.onnx").exists()


def test_without_emitters_the_exports_refuse_the_type(layers: Callable[..., None]) -> None:
    layers()
    del onnx_emitters.by_type["Quadruple"], torch_emitters.by_type["Quadruple"]
    with pytest.raises(CaffeCompatError, match=r"'twice' \(Quadruple\): has no form in ONNX"):
        export_onnx(message(NET), None, "net.onnx")
    with pytest.raises(CaffeCompatError, match=r"twice \(Quadruple\): has no form in torch source"):
        export_torch(message(NET), None, "net.py")


def test_two_files_of_one_name_are_two_modules(layers: Callable[..., None]) -> None:
    layers()
    Path("other").mkdir()
    Path("other/own.py").write_text(FILE.replace("ONNX", "pass").replace("SOURCE", SOURCE).replace('"Quad', '"Other'))
    assert load_layers("other/own.py") == ["Otherruple"]
    assert export_torch(message(NET), None, "net.py").differences[0].relative == 0
    with pytest.raises(CaffeCompatError, match="already"):
        load_layers("own.py")
