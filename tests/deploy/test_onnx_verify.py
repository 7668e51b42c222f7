"""What counts as the same output: values, choices between near equals, rounding, and mistakes that are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from caffecompat.deploy.onnx import emission
from caffecompat.deploy.onnx import verify as verifying
from caffecompat.deploy.onnx.compare import Difference, compare
from caffecompat.deploy.onnx.emission import Emission
from caffecompat.deploy.onnx.export import ExportOptions, export_net
from caffecompat.deploy.onnx.file import write_model
from caffecompat.deploy.onnx.pictures import random_inputs
from caffecompat.deploy.onnx.verify import verify
from caffecompat.net import Net
from tests.net.nets import INPUT, conv, layer, make_net

Emit = Callable[[Emission], Any]


@pytest.fixture
def emitting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets layer types be written in another way."""

    def use(**emitters: Emit) -> None:
        monkeypatch.setattr(emission.emitters, "by_type", emission.emitters.by_type | emitters)

    return use


def differences(net: Net, folder: Path, inputs: dict[str, np.ndarray] | None = None) -> list[Difference]:
    export = export_net(net)
    with (folder / "net.onnx").open("wb") as file:
        write_model(file, export.model, export.weights)
    options = ExportOptions()
    found = verify(folder / "net.onnx", export, net, inputs or random_inputs(net, options), options)
    assert [path.name for path in folder.iterdir()] == ["net.onnx"]
    return found


def shifted(by: float) -> Emit:
    """ReLU's first channel and all others apart by a little."""

    def emit(e: Emission) -> None:
        step = np.zeros((1, e.shape[1], 1, 1))
        step[0, 0] = by
        e.op("Add", e.op("Relu", e.bottoms[0]), e.const(step), to=e.tops[0])

    return emit


# The second of two equal channels is what Caffe's ArgMax takes.
TIES = (
    INPUT
    + layer("ReLU", "data", "r")
    + 'layer { name: "twins" type: "Concat" bottom: "r" bottom: "r" top: "twins" }\n'
    + layer("ArgMax", "twins", "best", "argmax_param { axis: 1 }")
)


def test_a_choice_between_near_equals_may_differ(tmp_path: Path, emitting: Callable[..., None]) -> None:
    def nudged(e: Emission) -> None:
        parts = [e.op("Mul", e.bottoms[0], e.const(1 + 1e-6)), e.bottoms[1]]
        e.op("Concat", *parts, to=e.tops[0], axis=e.module.axis)

    emitting(Concat=nudged)
    (found,) = differences(make_net(TIES), tmp_path)
    assert found.differ > 0 and found.allowed
    assert "near equals: what 'best' chooses from differs by" in str(found)


def test_a_choice_from_other_values_is_wrong(tmp_path: Path, emitting: Callable[..., None]) -> None:
    emitting(ReLU=shifted(0.1))
    (found,) = differences(make_net(TIES), tmp_path)
    assert not found.allowed
    assert "it chooses from twins: largest difference 0.1" in str(found)


def test_another_choice_from_the_same_values_is_wrong(tmp_path: Path, emitting: Callable[..., None]) -> None:
    def first(e: Emission) -> None:
        e.cast(e.op("ArgMax", e.bottoms[0], axis=1, keepdims=1, select_last_index=0), np.float32, to=e.tops[0])

    emitting(ArgMax=first)
    (found,) = differences(make_net(TIES), tmp_path)
    assert not found.allowed
    assert "from onnxruntime's values torch chooses otherwise" in found.remark


def test_an_index_is_equal_or_wrong_however_large() -> None:
    large = np.array([30000.0, 5.0], np.float32)
    assert not compare("index", large + [1, 0], large, exact=True).allowed
    assert compare("value", large + [1, 0], large).allowed


def test_nothing_is_allowed_to_be_small() -> None:
    tiny = np.array([1e-9, 5e-10])
    assert not compare("value", tiny * 1.01, tiny).allowed
    assert not compare("value", np.array([np.nan]), np.array([1.0])).allowed
    assert compare("value", np.array([np.inf, np.nan]), np.array([np.inf, np.nan])).allowed


def test_rounding_of_torchs_own_is_told_by_float64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rounds(net: Net, inputs: Any) -> dict[str, np.ndarray]:
        return {blob: top.detach().numpy() * np.float32(1 + 1.5e-4) for blob, top in net.forward(inputs).items()}

    monkeypatch.setattr(verifying, "run_net", rounds)
    (found,) = differences(make_net(INPUT + conv("c", "data")), tmp_path)
    assert found.allowed and found.relative == pytest.approx(1.5e-4, rel=0.01)
    assert "from the net in float64, torch itself rounds" in str(found)


def test_the_layer_with_the_mistake_is_named(tmp_path: Path, emitting: Callable[..., None]) -> None:
    emitting(ReLU=shifted(0.01))
    text = INPUT + conv("a", "data") + layer("ReLU", "a", "a", name="wrong") + conv("b", "a")
    (found,) = differences(make_net(text), tmp_path)
    assert not found.allowed
    assert "first off is layer 'wrong' (ReLU), by" in found.remark
    assert "a bug in caffecompat" in found.remark


def test_an_input_that_is_resized_in_place(tmp_path: Path) -> None:
    size = "deephi_resize_param { new_height: 9 new_width: 15 resize_type: NEAREST }"
    text = INPUT + layer("DeephiResize", "data", "data", size, name="up")
    net = make_net(text + conv("c", "data"))
    assert net.fed_shapes == {"data": (2, 3, 6, 6)} and net.blob_shapes["data"] == (2, 3, 9, 15)
    (found,) = differences(net, tmp_path)
    assert found.allowed and found.size == 2 * 4 * 9 * 15


@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_recurrent_layers_begin_from_zeros_in_every_run(kind: str, tmp_path: Path) -> None:
    """As in a fresh net; Caffe's next pass would go on from the state of the last one."""
    text = 'layer { name: "x" type: "Input" top: "x" top: "cont" input_param { shape { dim: 3 dim: 2 dim: 4 }\n'
    text += "shape { dim: 3 dim: 2 } } }\n"
    text += f'layer {{ name: "r" type: "{kind}" bottom: "x" bottom: "cont" top: "r" recurrent_param {{ num_output: 5\n'
    net = make_net(text + 'weight_filler { type: "uniform" min: -1 max: 1 } } }')
    inputs = {
        "x": np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32),
        "cont": np.ones((3, 2), np.float32),  # nobody starts over: the state before the first step counts
    }
    tensors = {blob: torch.from_numpy(values) for blob, values in inputs.items()}
    first, second = (net.forward(tensors)["r"].detach().numpy().copy() for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    for _ in range(2):
        (found,) = differences(net, tmp_path, inputs)
        assert found.allowed, str(found)
    (note,) = export_net(net).notes
    assert "expose_hidden" in note.text and note.exact


POOL = 'layer { name: "p" type: "Pooling" bottom: "r" top: "p" top: "m" pooling_param { kernel_size: 2 stride: 2 } }\n'
UP = 'layer { name: "u" type: "Upsample" bottom: "p" bottom: "m" top: "u" upsample_param { scale: 2 } }\n'
UNPOOLED = INPUT + layer("ReLU", "data", "r") + POOL + UP + conv("d", "u")
AGAIN = (
    UNPOOLED
    + 'layer { name: "q" type: "Pooling" bottom: "d" top: "q" top: "n" pooling_param { kernel_size: 2 stride: 2 } }\n'
    'layer { name: "v" type: "Upsample" bottom: "q" bottom: "n" top: "v" upsample_param { scale: 2 } }\n'
)  # fmt: skip


def swapped(gap: float) -> Emit:
    """ReLU that makes the greater of two neighbors, `gap` apart, the smaller one."""

    def emit(e: Emission) -> None:
        step = np.zeros((1, 1, 1, e.shape[3]))
        step[..., 1::2] = gap
        e.op("Add", e.op("Relu", e.bottoms[0]), e.const(step), to=e.tops[0])

    return emit


def near_equals(gap: float) -> dict[str, np.ndarray]:
    """Windows whose upper left value is the greatest by `gap` / 2."""
    values = np.zeros((2, 3, 6, 6), np.float32)
    values[..., ::2, ::2] = np.random.default_rng(0).uniform(1, 2, (2, 3, 3, 3))
    values[..., ::2, 1::2] = values[..., ::2, ::2] - gap / 2
    return {"data": values}


@pytest.mark.parametrize("text", [UNPOOLED, AGAIN, INPUT + layer("ReLU", "data", "r") + POOL])
def test_masks_that_choose_between_near_equals(text: str, tmp_path: Path, emitting: Callable[..., None]) -> None:
    emitting(ReLU=swapped(1e-6))
    net = make_net(text)
    found = differences(net, tmp_path, near_equals(1e-6))
    assert any(difference.differ for difference in found) and all(difference.allowed for difference in found)
    assert any("with onnxruntime's masks" in difference.remark for difference in found)


@pytest.mark.parametrize("text", [UNPOOLED, AGAIN])
def test_masks_that_choose_between_others_are_wrong(text: str, tmp_path: Path, emitting: Callable[..., None]) -> None:
    torch.manual_seed(0)
    emitting(ReLU=swapped(1e-2))
    found = differences(make_net(text), tmp_path, near_equals(1e-2))
    assert not all(difference.allowed for difference in found)


def test_masks_of_another_rule_are_wrong(tmp_path: Path, emitting: Callable[..., None]) -> None:
    """The last of equals, where Caffe takes the first: onnxruntime's own mask from the same values is another."""

    def last(e: Emission) -> None:
        e.op("MaxPool", e.bottoms[0], to=e.tops[0], kernel_shape=[2, 2], strides=[2, 2])
        rows, columns = np.meshgrid(range(1, 6, 2), range(1, 6, 2), indexing="ij")
        e.op("Identity", e.const(np.broadcast_to(rows * 6 + columns, (2, 3, 3, 3))), to=e.tops[1])

    emitting(Pooling=last)
    found = differences(make_net(UNPOOLED), tmp_path, {"data": np.ones((2, 3, 6, 6), np.float32)})
    assert not all(difference.allowed for difference in found)
