"""What layers keep from one pass to the next, and draw at random, is what a resumed run gets back."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from caffecompat.layers import Layer, layer_class, layer_types
from tests.layers.make import make_layer

# Attributes that methods set and that say nothing new: of which class, and what they are.
NO_MEMORY = {
    ("Accuracy", "axis"): "the same at each pass",
    ("Tile", "axis"): "the same at each pass",
    ("_AlongAxes", "axis"): "the same at each pass",
    ("MultiBoxLoss", "suppresses"): "set while the layer is made",
    ("PriorBox", "_made"): "boxes that can be made again",
    ("DetectionEvaluate", "_sizes"): "read from a file, once",
    ("DetectionEvaluate", "_warned"): "whether a line was logged",
    ("_FixedParameters", "_on_grid"): "made of the blobs",
    ("Recurrent", "_long"): "whether a line was logged",
    ("DetectionEvaluate", "compared"): "of the newest batch, set anew at each pass",
    ("FixedNeuron", "_seen"): "its own state() has it",
    ("PythonLayer", "*"): "the user's class has state() and restore()",
    ("Layer", "*"): "blobs, and how they were made",
}
# Buffers that never change, or are the class's own affair.
CONSTANT = {"anchor", "anchors", "class_weights", "matrix", "one"}


def own_classes() -> list[type[Layer]]:
    """The class of each layer type that the package has."""
    classes = {layer_class(name) for name in layer_types()}
    return sorted(
        (cls for cls in classes if cls and cls.__module__.startswith("caffecompat.")), key=lambda c: c.__name__
    )


def assigned(cls: type) -> set[tuple[str, str]]:
    """Class and name of each attribute of self that a method other than __init__ sets."""
    found = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("caffecompat."):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        for method in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            if method.name in ("__init__", "restore"):
                continue
            for node in ast.walk(method):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    found.add((base.__name__, node.attr))
    return found


def test_what_a_pass_leaves_behind_is_remembered() -> None:
    """A layer that keeps something new must name it in `remembers`, or say here why it need not."""
    for cls in own_classes():
        for base, name in assigned(cls):
            excused = (base, name) in NO_MEMORY or (base, "*") in NO_MEMORY
            assert excused or name in cls.remembers, f"{cls.__name__}: {base} sets {name}"


def test_buffers_are_constant_or_remembered() -> None:
    for cls in own_classes():
        for base in cls.__mro__:
            if not base.__module__.startswith("caffecompat."):
                continue
            for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base)))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("register_buffer"):
                    name = ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else None
                    # Recurrent layers name theirs by the parts of their state.
                    assert name in CONSTANT or name in cls.remembers or base.__name__ == "Recurrent", (cls, name)


def test_layers_and_sources_draw_from_generators_that_are_remembered() -> None:
    """Layers from torch's default generator; sources from the one of their own, or one seeded by it."""
    package = Path(inspect.getfile(Layer)).parents[1]
    for path in [*package.glob("layers/**/*.py"), *package.glob("data/*.py")]:
        tree = ast.parse(path.read_text())
        modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            called, where = ast.unparse(node.func), f"{path.name}:{node.lineno}"
            if called in ("random.Random", "np.random.default_rng", "np.random.MT19937"):
                assert node.args or path.name == "source.py", f"{where} is seeded by nothing"
            elif called.startswith("np.random.") or ("random" in modules and re.match(r"random\.[a-z]", called)):
                raise AssertionError(f"{where} draws from a global generator")
            assert called != "torch.Generator", f"{where} has a generator of its own"


def passes(layer: Layer, bottoms: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    with torch.no_grad():
        tops = [layer(*bottom) for bottom in bottoms]
    return [[top.clone() for top in (made if isinstance(made, tuple) else (made,))] for made in tops]


RECURRENT = "recurrent_param { num_output: 3 weight_filler { type: 'uniform' } }"
CASES = {
    "RNN": (f'type: "RNN" {RECURRENT}', lambda: (torch.randn(4, 2, 5), torch.ones(4, 2))),
    "LSTM": (f'type: "LSTM" {RECURRENT}', lambda: (torch.randn(4, 2, 5), torch.ones(4, 2))),
    "SegAccuracy": (
        'type: "SegAccuracy" seg_accuracy_param { reset: false }',
        lambda: (torch.randn(2, 3, 4, 4), torch.randint(0, 4, (2, 1, 4, 4)).float()),
    ),
    "MarginInnerProduct": (
        'type: "MarginInnerProduct" top: "a" top: "b" margin_inner_product_param { num_output: 4 base: 9 gamma: 1 '
        "power: 1 type: QUADRUPLE weight_filler { type: 'xavier' } }",
        lambda: (torch.randn(3, 5), torch.tensor([0.0, 1.0, 3.0])),
    ),
    "FixedNeuron": (
        'type: "FixedNeuron" fixed_param { bit_width: 4 fixed_method: DIFF_S }',
        lambda: (torch.randn(2, 6) * 2.0 ** float(torch.randint(-2, 3, ())),),
    ),
    "BatchNorm": ('type: "BatchNorm" batch_norm_param { }', lambda: (torch.randn(2, 3, 4, 4),)),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_layer_goes_on_in_another_process(kind: str) -> None:
    text, draw = CASES[kind]
    torch.manual_seed(5)
    bottoms = [draw() for _ in range(8)]
    shapes = [tuple(bottom.shape) for bottom in bottoms[0]]
    straight, first, second = (make_layer(text, *shapes) for _ in range(3))
    for layer in (first, second):
        layer.load_state_dict(straight.state_dict())
    expected = passes(straight, bottoms)
    found = passes(first, bottoms[:3])
    state, blobs = first.state(), {name: value.clone() for name, value in first.state_dict().items()}
    kept = repr(state)
    passes(first, bottoms[3:5])
    assert repr(state) == kept and state
    second.load_state_dict(blobs)
    assert list(second.restore(state)) == []
    found += passes(second, bottoms[3:])
    for one, other in zip(expected, found, strict=True):
        for left, right in zip(one, other, strict=True):
            assert torch.equal(left, right)


def test_xilinx_batch_norm_takes_its_first_batch_once() -> None:
    from caffecompat.forks import Fork

    layer, other = (make_layer('type: "BatchNorm"', (2, 3, 4, 4), fork=Fork.XILINX) for _ in range(2))
    assert layer.state() == {"fresh": True}
    layer(torch.randn(2, 3, 4, 4))
    assert layer.state() == {"fresh": False}
    other.restore(layer.state())
    assert not other.fresh


def test_detection_evaluate_goes_on_in_its_list_of_sizes(tmp_path: Path) -> None:
    (tmp_path / "sizes.txt").write_text("a 10 10\nb 1000 1000\n")
    text = (
        'type: "DetectionEvaluate" detection_evaluate_param { num_classes: 2 overlap_threshold: 0.5 '
        f'name_size_file: "{tmp_path}/sizes.txt" }}'
    )
    found = torch.tensor([0, 1, 0.9, 0.1, 0.1, 0.4, 0.4]).view(1, 1, 1, 7)
    there = torch.tensor([0, 1, 0, 0.1, 0.1, 0.4, 0.4, 0]).view(1, 1, 1, 8)
    layer, other = (make_layer(text, found.shape, there.shape) for _ in range(2))
    layer(found, there)
    assert layer.state() == {"next_image": 1}
    other.restore(layer.state())
    other(found, there)
    assert other.state() == {"next_image": 0}


def test_mat_write_goes_on_counting(tmp_path: Path) -> None:
    text = f'type: "MatWrite" mat_write_param {{ prefix: "{tmp_path}/" period: 2 }}'
    layer, other = (make_layer(text, (1, 1, 2, 2)) for _ in range(2))
    for _ in range(3):
        layer(torch.zeros(1, 1, 2, 2))
    other.restore(layer.state())
    other(torch.zeros(1, 1, 2, 2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iter_0_blob_0.mat", "iter_2_blob_0.mat"]
    other(torch.zeros(1, 1, 2, 2))
    assert (tmp_path / "iter_4_blob_0.mat").exists()


class TestHdf5Output:
    def layer(self, path: Path) -> Layer:
        return make_layer(f'type: "HDF5Output" hdf5_output_param {{ file_name: "{path}" }}', (2, 1), (2,))

    def written(self, path: Path) -> list[float]:
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["data"][...].ravel(), file["label"][...].ravel())
            return list(file["data"][...].ravel())

    def test_rows_after_the_snapshot_are_written_again(self, tmp_path: Path) -> None:
        path = tmp_path / "out.h5"
        layer = self.layer(path)
        state = {}
        for k in range(3):
            layer(torch.full((2, 1), float(k)), torch.full((2,), float(k)))
            state = layer.state() if k == 1 else state
        other = self.layer(path)
        assert list(other.restore(state)) == []
        other(torch.full((2, 1), 7.0), torch.full((2,), 7.0))
        assert self.written(path) == [0, 0, 1, 1, 7, 7]

    def test_a_file_that_is_gone_begins_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "out.h5"
        other = self.layer(path)
        assert other.restore({"rows": 4}) == [f"{path} has 0 of the 4 rows that were written; it starts over"]
        other(torch.full((2, 1), 7.0), torch.full((2,), 7.0))
        assert self.written(path) == [7, 7]


PYTHON = """
import random
import numpy as np
import caffe

class Plain(caffe.Layer):
    def setup(self, bottom, top):
        self.at = 0
    def reshape(self, bottom, top):
        top[0].reshape(2)
    def forward(self, bottom, top):
        self.at += 1
        top[0].data[...] = self.at, random.random() + np.random.rand()

class Placed(Plain):
    def state(self):
        return {"at": self.at}
    def restore(self, state):
        self.at = state["at"]
"""


def test_python_layers_with_and_without_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "placed_layers.py").write_text(PYTHON)
    monkeypatch.syspath_prepend(tmp_path)
    text = 'type: "Python" python_param {{ module: "placed_layers" layer: "{}" }}'
    layer, other = (make_layer(text.format("Placed")) for _ in range(2))
    layer()
    layer()
    assert layer.state() == {"own": {"at": 2}}
    assert list(other.restore(layer.state())) == []
    assert other()[0] == 3
    plain = make_layer(text.format("Plain"))
    assert plain.state() == {"own": None}
    (remark,) = plain.restore(plain.state())
    assert remark.startswith("placed_layers.Plain has no state() and restore(state)")
