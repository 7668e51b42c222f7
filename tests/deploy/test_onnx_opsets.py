"""Opsets 9 to 12, for old runtimes: every form of every layer, computed by onnxruntime; the page that tells of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from caffecompat.deploy.emitters import UnsupportedLayer
from caffecompat.deploy.onnx.export import ExportOptions, export_net
from caffecompat.deploy.onnx.file import write_model
from caffecompat.deploy.onnx.graph import GraphBuilder, OnnxError
from caffecompat.deploy.onnx.layers import detection
from caffecompat.deploy.onnx.older import FORMS
from caffecompat.deploy.onnx.pictures import random_inputs
from caffecompat.deploy.onnx.run import run_model
from caffecompat.deploy.onnx.verify import verify
from caffecompat.layers import Layer, layer_class, layer_types
from caffecompat.net import Net, NetError
from tests.deploy.opset_table import OPSETS, PAGE, UNRECORDED, page
from tests.net.nets import INPUT, layer, make_net

OLD = (9, 10, 11, 12)


def _verified(net: Net, opset: int, path: Path) -> onnx.ModelProto:
    """Export, check, compute by onnxruntime and compare; returns the model."""
    options = ExportOptions(opset=opset)
    export = export_net(net, options)
    with path.open("wb") as file:
        write_model(file, export.model, export.weights)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    for difference in verify(path, export, net, random_inputs(net, options), options):
        assert difference.allowed, f"opset {opset}: {difference}"
    return model


NEAREST = "deephi_resize_param { new_height: 12 new_width: 18 resize_type: NEAREST }"

# What the recorded cases have little of: settings whose form depends on the opset.
LAYERS = {
    "softmax before planes": layer("Softmax", "data", "y"),
    "softmax along rows": layer("Softmax", "data", "y", "softmax_param { axis: 2 }"),
    "softmax of vectors": layer("Flatten", "data", "f") + layer("Softmax", "f", "y"),
    "best class": layer("ArgMax", "data", "y", "argmax_param { axis: 1 }"),
    "best with its value": layer("ArgMax", "data", "y", "argmax_param { out_max_val: true }"),
    "three best": layer("ArgMax", "data", "y", "argmax_param { axis: 1 top_k: 3 out_max_val: true }"),
    "aligned corners": layer("Interp", "data", "y", "interp_param { height: 11 width: 4 }"),
    "aligned corners of a crop": layer("Interp", "data", "y", "interp_param { zoom_factor: 2 pad_beg: -1 }"),
    "one row": layer("Interp", "data", "y", "interp_param { height: 1 width: 9 }"),
    "half pixels": layer("DeephiResize", "data", "y", "deephi_resize_param { new_height: 9 new_width: 4 }"),
    "nearest": layer("DeephiResize", "data", "y", NEAREST),
    "repeated": layer("Upsample", "data", "y", "upsample_param { scale: 2 }"),
    "kept share": layer("Dropout", "data", "y", "dropout_param { dropout_ratio: 0.3 scale_train: false }"),
    "limits": layer("ReLU6", "data", "y", "relu_param { negative_slope: 0.1 }"),
    "mask": 'layer { name: "p" type: "Pooling" bottom: "data" top: "y" top: "m" pooling_param { kernel_size: 3\n'
    'stride: 2 pad: 1 } }\nlayer { name: "u" type: "Upsample" bottom: "y" bottom: "m" top: "z" upsample_param {\n'
    "upsample_h: 6 upsample_w: 6 } }",
    "margins": layer("Pooling", "data", "y", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }"),
    "slices": 'layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "b" slice_param { slice_point: 1 } }',
    "sums": layer("Reduction", "data", "y", "reduction_param { axis: 1 coeff: 2 }"),
    "no bias": layer("InnerProduct", "data", "y", "inner_product_param { num_output: 3 bias_term: false\n"
                     'weight_filler { type: "xavier" } }'),
    "steps": 'layer { name: "c" type: "Input" top: "c" input_param { shape { dim: 2 dim: 3 } } }\n'
    'layer { name: "l" type: "LSTM" bottom: "data" bottom: "c" top: "y" recurrent_param { num_output: 2\n'
    'weight_filler { type: "uniform" min: -1 max: 1 } } }',
}  # fmt: skip


@pytest.mark.parametrize("opset", OLD)
@pytest.mark.parametrize("name", LAYERS)
def test_forms_that_depend_on_the_opset(name: str, opset: int, tmp_path: Path) -> None:
    model = _verified(make_net(INPUT + LAYERS[name]), opset, tmp_path / "net.onnx")
    (stated,) = model.opset_import
    assert stated.version == opset
    assert model.ir_version == {9: 4, 10: 5, 11: 6, 12: 7}[opset]  # what runtimes of that time take
    assert all(onnx.defs.get_schema(node.op_type, opset).since_version <= opset for node in model.graph.node)


def test_every_form_is_one_of_an_older_schema() -> None:
    """The opset of the table is where the operator really changed."""
    for operator, (since, _, _) in FORMS.items():
        versions = {onnx.defs.get_schema(operator, opset).since_version for opset in range(since, 14)}
        assert since in versions, operator


def test_places_that_are_computed_need_a_newer_opset() -> None:
    builder = GraphBuilder(9)
    with pytest.raises(UnsupportedLayer, match="opset 9 knows Slice with constant settings only"):
        builder.add("Slice", ["x", "computed", "computed"], ["y"], "s")


def test_what_an_opset_cannot_say_names_the_lowest_that_can(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(detection, "_MOST_PAIRS", 10)
    text = (
        'layer { name: "in" type: "Input" top: "loc" top: "conf" top: "priors" input_param {\n'
        "shape { dim: 1 dim: 24 } shape { dim: 1 dim: 12 } shape { dim: 1 dim: 2 dim: 24 } } }\n"
        'layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "priors" top: "out"\n'
        "detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.4 } code_type: CENTER_SIZE } }\n"
    )
    with pytest.raises(NetError) as caught:
        export_net(make_net(text), ExportOptions(opset=9))
    assert "layer 'out' (DetectionOutput): opset 9, without NonMaxSuppression, needs each of 6" in str(caught.value)
    assert "the lowest opset that can is 10 (--opset 10)" in str(caught.value)
    export_net(make_net(text), ExportOptions(opset=10))
    with pytest.raises(OnnxError, match="opset 8 is not one of 9 to"):
        export_net(make_net(text), ExportOptions(opset=8))


@pytest.mark.parametrize("opset", OLD)
def test_nothing_found(opset: int, tmp_path: Path) -> None:
    """A row for each image, whichever way the opset takes to it."""
    text = (
        'layer { name: "in" type: "Input" top: "loc" top: "conf" top: "priors" input_param {\n'
        "shape { dim: 2 dim: 24 } shape { dim: 2 dim: 12 } shape { dim: 1 dim: 2 dim: 24 } } }\n"
        'layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "priors" top: "out"\n'
        "detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.4 top_k: 4 } code_type: CORNER\n"
        "confidence_threshold: 2 } }\n"
    )
    net = make_net(text)
    model = _verified(net, opset, tmp_path / "net.onnx").SerializeToString()
    inputs = {blob: np.zeros(shape, np.float32) for blob, shape in net.fed_shapes.items()}
    assert run_model(model, inputs)["out"].tolist() == [[[[0, *[-1] * 6], [1, *[-1] * 6]]]]


def test_the_page_is_in_step() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.deploy.opset_table"


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("kind", UNRECORDED)
def test_types_of_the_page_without_records(kind: str, opset: int, tmp_path: Path) -> None:
    net = make_net(UNRECORDED[kind])
    try:
        _verified(net, opset, tmp_path / "net.onnx")
    except NetError as problem:
        assert f"opset {opset}" in str(problem)


def test_every_type_has_a_line_in_the_page() -> None:
    lines = set(re.findall(r"^\| (\w+) \|", PAGE.read_text(), re.MULTILINE))
    types = {
        kind for kind in layer_types() if (layer_class(kind) or Layer).__module__.startswith("caffecompat.layers.")
    }
    assert types <= lines


@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_sequences_whose_steps_would_fill_a_model_are_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"""
        layer {{ name: "in" type: "Input" top: "x" top: "c" input_param {{
          shape {{ dim: 6 dim: 1 dim: 4 }} shape {{ dim: 6 dim: 1 }} }} }}
        layer {{ name: "r" type: "{kind}" bottom: "x" bottom: "c" top: "h" recurrent_param {{ num_output: 2 }} }}"""
    assert export_net(make_net(text), ExportOptions()).model.graph.node
    monkeypatch.setattr("caffecompat.deploy.onnx.layers.recurrent._MOST_STEPS", 5)
    with pytest.raises(NetError, match=rf"layer 'r' \({kind}\): 6 steps: an ONNX model has the nodes of each step"):
        export_net(make_net(text), ExportOptions())
