"""Models with an open batch: symbolic first axes, the same numbers at every batch, and layers that fix it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from caffecompat.cli.main import main
from caffecompat.deploy.batch import batched_shapes
from caffecompat.deploy.onnx import write
from caffecompat.deploy.onnx.errors import OnnxError
from caffecompat.deploy.onnx.export import Export, ExportOptions, export_net
from caffecompat.deploy.onnx.file import complete, write_model
from caffecompat.deploy.onnx.run import run_model, run_net
from caffecompat.deploy.onnx.verify import verify
from caffecompat.net import Net
from tests.deploy.exporting import export as export_text
from tests.deploy.recorded import recorded_net, recorded_types
from tests.deploy.test_onnx_layers import EXPORTED
from tests.net.nets import INPUT, conv, layer, make_net

# Types that fix the batch in some of their recorded cases, or all.
FIXING = {
    "Bias", "BatchReindex", "DetectionOutput", "LSTM", "LSTMUnit", "Permute", "RNN", "Reduction", "Reshape", "Scale",
    "Slice", "Softmax",
}  # fmt: skip


def dims(model: onnx.ModelProto, name: str) -> list[int | str]:
    value = next(value for value in [*model.graph.input, *model.graph.output] if value.name == name)
    return [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]


def computed_alike(
    net: Net,
    export: Export,
    path: Path,
    batches: tuple[int, ...] = (1, 2, 5),
    given: dict[str, np.ndarray] | None = None,
) -> None:
    """onnxruntime and torch at several batches, on random inputs or the items of the given ones."""
    with path.open("wb") as file:
        write_model(file, export.model, export.weights)
    onnx.checker.check_model(str(path), full_check=True)
    rng = np.random.default_rng(0)
    for batch in batches:
        shapes = batched_shapes(net, batch)
        inputs = {blob: rng.standard_normal(shape, np.float32) for blob, shape in shapes.items()}
        inputs |= {blob: values[np.arange(shapes[blob][0]) % len(values)] for blob, values in (given or {}).items()}
        fed = {name: inputs[blob] for blob, name in export.inputs.items()}
        wanted, found = run_net(net, inputs), run_model(path, fed)
        for output in export.outputs:
            assert found[output.name].shape == wanted[output.blob].shape
            scale = np.abs(wanted[output.blob]).max(initial=1e-30)
            assert np.abs(found[output.name] - wanted[output.blob]).max(initial=0) <= 1e-4 * scale


NETS = {
    "classifier": conv("c", "data") + layer("ReLU", "c", "c", name="r")
    + layer("InnerProduct", "c", "i", 'inner_product_param { num_output: 3 weight_filler { type: "xavier" } }')
    + layer("Softmax", "i", "prob"),
    "unpooling": conv("c", "data") + 'layer { name: "p" type: "Pooling" bottom: "c" top: "p" top: "m" pooling_param {\n'
    'kernel_size: 2 stride: 2 } }\nlayer { name: "u" type: "Upsample" bottom: "p" bottom: "m" top: "u"\n'
    "upsample_param { scale: 2 } }\n" + conv("d", "u"),
    "reshapes": layer("Reshape", "data", "a", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } }")
    + layer("Permute", "a", "b", "permute_param { order: 0 order: 2 order: 1 }") + layer("Flatten", "b", "f"),
    "items of rows": layer("Reshape", "data", "a", "reshape_param { shape { dim: -1 dim: 12 } }")
    + layer("InnerProduct", "a", "i", 'inner_product_param { num_output: 3 weight_filler { type: "xavier" } }'),
    "best": layer("ArgMax", "data", "y", "argmax_param { top_k: 2 out_max_val: true }"),
    "resized": layer("Interp", "data", "y", "interp_param { zoom_factor: 2 }"),
    "resized as another": layer("Pooling", "data", "p", "pooling_param { pool: AVE global_pooling: true }")
    + 'layer { name: "y" type: "Interp" bottom: "p" bottom: "data" top: "y" }\n',
    "joined": 'layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "b" slice_param { slice_point: 1 } }\n'
    'layer { name: "c" type: "Concat" bottom: "b" bottom: "a" top: "c" }\n' + conv("d", "c"),
    "normalized": layer("MVN", "data", "y") + layer("LRN", "y", "z") + layer("Normalize", "z", "n"),
}  # fmt: skip


@pytest.mark.parametrize("opset", [9, 11, 13])
@pytest.mark.parametrize("name", NETS)
def test_the_first_axis_is_open(name: str, opset: int, tmp_path: Path) -> None:
    net = make_net(INPUT + NETS[name])
    shapes = dict(net.value_shapes)
    export = export_net(net, ExportOptions(opset=opset, dynamic=True))
    assert dims(export.model, "data") == ["batch", 3, 6, 6]
    for output in export.outputs:
        shape = net.blob_shapes[output.blob]
        assert dims(export.model, output.name) == [
            "batch" if shape[0] == 2 else f"{shape[0] // 2}*batch", *shape[1:]
        ]  # fmt: skip
    assert net.value_shapes == shapes  # as it was before
    computed_alike(net, export, tmp_path / "net.onnx")


def test_recorded_layers(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """A case of each type: computed at several batches, or its type fixes the batch and is named."""
    cases = {tuple(sorted(recorded_types(path))): path for path in reversed(EXPORTED)}
    computed = 0
    for kinds, path in cases.items():
        document, net, inputs = recorded_net(path)
        try:
            export = export_net(net, ExportOptions(dynamic=True), document)
        except OnnxError as problem:
            assert str(problem).startswith("--batch dynamic: ") and any(kind in str(problem) for kind in kinds)
            assert FIXING.intersection(kinds), problem
            continue
        computed_alike(net, export, tmp_path / "net.onnx", (1, 3), inputs)
        computed += 1
    assert computed > 40
    record_property("measured", f"a case of each of {computed} layer types through ONNX with an open batch")


FIXED = {
    "reshape": (layer("Reshape", "data", "y", "reshape_param { shape { dim: 4 dim: -1 dim: 6 } }"),
                "layer 'y' (Reshape): a bottom of shape (3, 3, 6, 6)"),
    "batch as rows": (layer("Permute", "data", "y", "permute_param { order: 1 order: 0 }"), "layer 'y' (Permute): "),
    "slices": ('layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "b" slice_param { axis: 0\n'
               "slice_point: 1 } }",
               "layer 's' (Slice): its top 'b' is"),
    "sum": (layer("Reduction", "data", "y"), "layer 'y' (Reduction): it sums over all items"),
    "blob of the batch": (layer("Scale", "data", "y", "scale_param { axis: 0 }"), "layer 'y' (Scale)"),
}  # fmt: skip


@pytest.mark.parametrize("name", FIXED)
def test_a_layer_that_fixes_the_batch_is_named(name: str) -> None:
    text, why = FIXED[name]
    net = make_net(INPUT + text)
    shapes = dict(net.value_shapes)
    with pytest.raises(OnnxError, match="--batch dynamic: ") as caught:
        export_net(net, ExportOptions(dynamic=True))
    assert why in str(caught.value)
    assert net.value_shapes == shapes


def _detector(nms: str) -> Net:
    return make_net(
        'layer { name: "in" type: "Input" top: "loc" top: "conf" top: "priors" input_param {\n'
        "shape { dim: 2 dim: 24 } shape { dim: 2 dim: 18 } shape { dim: 1 dim: 2 dim: 24 } } }\n"
        'layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "priors" top: "out"\n'
        f"detection_output_param {{ num_classes: 3 nms_param {{ {nms} }} code_type: CORNER keep_top_k: 8 }} }}\n"
    )


@pytest.mark.parametrize("opset", [10, 11, 13])
def test_detections_of_any_number_of_pictures(opset: int) -> None:
    """What counts pictures (rows of boxes, the first column) is computed; priors have no batch."""
    net = _detector("nms_threshold: 0.4 top_k: 5")
    export = export_net(net, ExportOptions(opset=opset, dynamic=True))
    assert dims(export.model, "loc") == ["batch", 24] and dims(export.model, "priors") == [1, 2, 24]
    model = complete(export.model, export.weights).SerializeToString()
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.5, (1, 1, 6, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.5, low.shape)], 3).reshape(1, 1, 24)
    priors = np.concatenate([boxes, np.full_like(boxes, 0.1)], 1).astype(np.float32)
    for pictures in (1, 2, 5):
        inputs = {
            "loc": rng.normal(0, 0.1, (pictures, 24)).astype(np.float32),
            "conf": rng.random((pictures, 18), np.float32), "priors": priors,
        }  # fmt: skip
        wanted, found = run_net(net, inputs)["out"], run_model(model, inputs)["out"]
        assert set(wanted[0, 0, :, 0]) == set(range(pictures))
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_detections_by_scan_fix_the_batch() -> None:
    with pytest.raises(OnnxError, match=r"layer 'out' \(DetectionOutput\) fixes .* --cut-detection"):
        export_net(_detector("nms_threshold: 0.7 eta: 0.9 top_k: 5"), ExportOptions(dynamic=True))


def test_the_whole_way_compares_two_batches(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(f'name: "n"\n{INPUT}{NETS["classifier"]}')
    flags = ["--mean", "1,2,3", "--bake-preprocessing", "--batch", "dynamic"]
    assert main(["export", "onnx", "--model", "net.prototxt", "net.onnx", *flags]) == 0
    said = capsys.readouterr().out
    assert "input  data_pixels batchx3x6x6" in said and "output prob batchx3" in said
    assert "; batch 1\n" in said and "; batch 3\n" in said
    made = {n: run_model("net.onnx", {"data_pixels": np.ones((n, 3, 6, 6))})["prob"] for n in (1, 7)}
    assert made[7].shape == (7, 3) and np.allclose(made[7], made[1], atol=1e-6)
    for words, why in (
        ("--batch dynamic --target dpu", "want static shapes"),
        ("--batch 0", "at least 1"),
        ("--batch open", "neither a number nor 'dynamic'"),
    ):
        assert main(["export", "onnx", "--model", "net.prototxt", "other.onnx", *words.split()]) == 2
        assert why in capsys.readouterr().err
    assert not Path("other.onnx").exists()


def test_a_wrong_model_is_found_at_either_batch(tmp_path: Path, monkeypatch) -> None:
    """Even where it is right at one of them."""

    def wrong_at_three(
        path: str, export: Export, net: Net, inputs: dict[str, np.ndarray], options: ExportOptions
    ) -> list:
        found = verify(path, export, net, inputs, options)
        found[0].allowed = len(inputs["data"]) != 3
        return found

    monkeypatch.setattr(write, "verify", wrong_at_three)
    with pytest.raises(write.DifferentNumbers, match="batch 3"):
        export_text(INPUT + conv("c", "data"), tmp_path / "net.onnx", dynamic=True)
    assert not list(tmp_path.iterdir())
