"""Passes over an exported graph: older opsets, several bottoms, what is refused, and emitters that know no target."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import caffecompat
from caffecompat.deploy.onnx.export import ExportOptions, export_net
from caffecompat.deploy.targets.registry import TARGETS
from caffecompat.net import NetError
from tests.deploy.exporting import export, input_of, operators
from tests.net.nets import INPUT, conv, layer, make_net

FOLDER = Path(caffecompat.__file__).parent / "deploy" / "onnx"


@pytest.mark.parametrize("path", [*(FOLDER / "layers").glob("*.py"), FOLDER / "resize.py"], ids=lambda path: path.name)
def test_emitters_know_no_target(path: Path) -> None:
    assert not re.search(r"\bdpu\b|\btidl\b|\btarget\b", path.read_text(), re.IGNORECASE)


@pytest.mark.parametrize("target", TARGETS)
def test_a_pass_without_its_operators_changes_nothing(target: str) -> None:
    """Of a net that is within all limits."""
    net = make_net(INPUT + conv("c", "data") + layer("ReLU", "c", "r"))
    wanted, found = export_net(net), export_net(net, ExportOptions(target=target))
    assert list(found.model.graph.node) == list(wanted.model.graph.node) and not found.notes


def test_refusals_of_emitters_and_passes_come_together_in_order() -> None:
    text = INPUT + 'layer { name: "s" type: "Input" top: "s" input_param { shape { dim: 2 } } }\n'
    text += layer("Interp", "data", "a", "interp_param { zoom_factor: 2 }")
    text += layer("Filter", "data", "f").replace("top:", 'bottom: "s" top:')
    text += layer("Interp", "data", "c", "interp_param { zoom_factor: 3 }")
    with pytest.raises(NetError) as caught:
        export_net(make_net(text), ExportOptions(target="tidl"))
    named = [re.findall(r"layer '(\w)'", problem)[0] for problem in caught.value.problems]
    assert named == ["a", "f", "c"]


@pytest.mark.parametrize("opset", [9, 10, 11, 12, 13, 18])
def test_slices_of_a_dpu_in_each_opset(opset: int, tmp_path: Path) -> None:
    text = INPUT + 'layer { name: "s" type: "Slice" bottom: "data" top: "x" top: "y" slice_param { slice_point: 1 } }\n'
    done = export(text, tmp_path / "net.onnx", target="dpu", opset=opset)
    assert operators(done) == ["Slice", "Slice"] and all(found.allowed for found in done.differences)


@pytest.mark.parametrize("opset", [9, 11, 13, 18])
@pytest.mark.parametrize("target", TARGETS)
def test_squares_in_each_opset(target: str, opset: int, tmp_path: Path) -> None:
    """Also those of a Reduction, whose axes are not kept."""
    text = INPUT + layer("Normalize", "data", "n")
    text += layer("Reduction", "n", "r", "reduction_param { operation: SUMSQ axis: 1 }")
    done = export(text, tmp_path / "net.onnx", target=target, opset=opset)
    assert "ReduceSumSquare" not in operators(done) and operators(done).count("ReduceSum") == 2
    assert all(found.allowed for found in done.differences)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_groups_of_a_layer_with_two_bottoms(kind: str, dense: bool, tmp_path: Path) -> None:
    text = input_of(1, 6, 5, 5) + input_of(1, 6, 5, 5).replace("data", "other")
    text += f'layer {{ name: "c" type: "{kind}" bottom: "data" bottom: "other" top: "x" top: "y" convolution_param {{ '
    text += 'num_output: 6 group: 2 kernel_size: 3 weight_filler { type: "xavier" } } }\n'
    done = export(text, tmp_path / "net.onnx", target="dpu", dpu_dense=dense)
    op = "Conv" if kind == "Convolution" else "ConvTranspose"
    assert operators(done).count(op) == (2 if dense else 4)
    assert len(done.export.notes) == 1 and all(found.allowed for found in done.differences)


def test_bilinear_deconvolutions_of_two_bottoms(tmp_path: Path) -> None:
    text = input_of(1, 2, 5, 5) + input_of(1, 2, 5, 5).replace("data", "other")
    text += (
        'layer { name: "u" type: "Deconvolution" bottom: "data" bottom: "other" top: "x" top: "y" convolution_param '
    )
    text += (
        '{ num_output: 2 group: 2 kernel_size: 4 stride: 2 pad: 1 bias_term: false weight_filler { type: "bilinear" '
    )
    text += "} } }\n"
    done = export(text, tmp_path / "net.onnx", target="tidl")
    assert operators(done) == ["Resize", "Resize"]


def test_a_join_that_others_read_is_not_taken_apart(tmp_path: Path) -> None:
    text = INPUT + conv("c", "data") + conv("d", "data")
    text += 'layer { name: "j" type: "Concat" bottom: "c" bottom: "d" top: "j" }\n' + layer("ReLU", "j", "r")
    alone = export(text, tmp_path / "net.onnx", target="dpu")
    assert operators(alone) == ["Conv", "Conv", "Relu", "Relu", "Concat"]
    together = export(text + layer("Sigmoid", "j", "s"), tmp_path / "net.onnx", target="dpu")
    assert operators(together) == ["Conv", "Conv", "Concat", "Relu", "Sigmoid"]


def test_a_pass_says_what_it_did() -> None:
    net = make_net(INPUT + layer("ArgMax", "data", "a", "argmax_param { axis: 1 }"))
    (note,) = export_net(net, ExportOptions(target="tidl")).notes
    assert note.layer == "a" and not note.exact


@pytest.mark.parametrize("opset", [9, 11])
def test_no_note_of_what_did_not_happen(opset: int, tmp_path: Path) -> None:
    """Before opset 12 ArgMax cannot be asked for the last of equals: the exact form is other operators."""
    text = INPUT + layer("ArgMax", "data", "a", "argmax_param { axis: 1 }")
    done = export(text, tmp_path / "net.onnx", target="tidl", opset=opset)
    assert not done.export.notes and all(found.allowed for found in done.differences)
    values = done.net.forward({"data": np.zeros((2, 3, 6, 6), np.float32)})["a"]
    assert bool((values == 2).all())


@pytest.mark.parametrize("target", TARGETS)
def test_aligned_corners_by_products_are_exact_and_nothing_to_refuse(target: str, tmp_path: Path) -> None:
    """Opset 9 has no Resize that aligns corners, so there is none to change: products with weights, as they are."""
    text = INPUT + layer("Interp", "data", "big", "interp_param { zoom_factor: 2 }")
    done = export(text, tmp_path / "net.onnx", target=target, opset=9)
    assert operators(done) == ["MatMul", "MatMul"] and not done.export.inexact
    assert all(found.allowed for found in done.differences)
