"""What --target changes: rewritten layers compute the same, or the report says what they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from caffecompat.compare.nets import load_blobs
from caffecompat.deploy import fold_norm
from caffecompat.deploy.onnx.compare import TOLERANCE
from caffecompat.deploy.onnx.emission import Note
from caffecompat.deploy.onnx.export import ExportOptions
from caffecompat.deploy.onnx.pictures import random_inputs
from caffecompat.deploy.onnx.run import run_model
from caffecompat.deploy.onnx.verify import effect_of
from caffecompat.deploy.onnx.write import DifferentNumbers, Exported, prepared_net, write_onnx
from caffecompat.deploy.targets.check import check_net
from caffecompat.deploy.targets.table import load_table
from caffecompat.net import NetError
from caffecompat.schema import NetDocument
from tests.deploy.exporting import export, input_of, operators
from tests.net.nets import INPUT, conv, layer, message


@pytest.mark.parametrize("target", ["", "tidl", "dpu"])
def test_layers_of_one_name_and_half_precision(target: str, tmp_path: Path) -> None:
    """Neither a second layer of a folded one's name nor NVCaffe's FLOAT16 gets in the way."""
    text = "default_forward_type: FLOAT16\n" + INPUT + conv("conv", "data")
    text += layer("Scale", "conv", "conv", name="twice") + layer("ReLU", "conv", "conv", name="twice")
    text += layer("Pooling", "conv", "pool", "pooling_param { kernel_size: 2 stride: 2 }", name="twice")
    done = export(text, tmp_path / "net.onnx", target=target)
    assert operators(done)[-2:] == ["Relu", "MaxPool"]
    assert any("32 bits" in note.text for note in done.export.notes)


def bilinear(factor: int, channels: int) -> str:
    kernel, pad = 2 * factor - factor % 2, (factor - 1 + 1) // 2
    return layer(
        "Deconvolution",
        "data",
        "up",
        f"convolution_param {{ num_output: {channels} group: {channels} bias_term: false kernel_size: {kernel} "
        f'stride: {factor} pad: {pad} weight_filler {{ type: "bilinear" }} }}',
    )


@pytest.mark.parametrize(
    ("target", "factor", "rewritten"), [("dpu", 2, True), ("dpu", 4, True), ("dpu", 8, False), ("tidl", 16, True)]
)
def test_bilinear_deconvolution_becomes_resize(target: str, factor: int, rewritten: bool, tmp_path: Path) -> None:
    done = export(input_of(1, 3, 6, 7) + bilinear(factor, 3), tmp_path / "net.onnx", target=target)
    assert operators(done) == (["Resize"] if rewritten else ["ConvTranspose"])
    assert done.export.inexact == (["up"] if rewritten else [])
    x = np.random.default_rng(0).random((1, 3, 6, 7), np.float32)
    wanted = done.net.forward({"data": x})["up"].detach().numpy()
    found = run_model(tmp_path / "net.onnx", {"data": x})["up"]
    inside = np.s_[..., factor // 2 : -factor // 2, factor // 2 : -factor // 2]
    np.testing.assert_allclose(found[inside], wanted[inside], atol=1e-5)
    if rewritten:
        assert np.abs(found - wanted)[..., factor // 2 - 1, :].max() > 1e-3
        assert f"all within {factor // 2} pixel" in done.export.notes[-1].effect


def test_a_learned_deconvolution_stays(tmp_path: Path) -> None:
    text = bilinear(2, 3).replace("bilinear", "gaussian")
    assert operators(export(input_of(1, 3, 6, 7) + text, tmp_path / "net.onnx", target="tidl")) == ["ConvTranspose"]


def test_groups_are_split_for_the_dpu(tmp_path: Path) -> None:
    text = input_of(1, 8, 5, 5) + layer(
        "Convolution",
        "data",
        "c",
        "convolution_param { num_output: 12 group: 4 kernel_size: 3 pad: 1 stride: 2 "
        'weight_filler { type: "xavier" } }',
    )
    done = export(text, tmp_path / "net.onnx", target="dpu")
    assert operators(done).count("Conv") == 4
    assert "unchanged" in done.export.notes[-1].effect
    assert operators(export(text, tmp_path / "net.onnx", target="tidl")) == ["Conv"]
    depthwise = text.replace("group: 4", "group: 8").replace("num_output: 12", "num_output: 8")
    assert operators(export(depthwise, tmp_path / "net.onnx", target="dpu")) == ["Conv"]


def test_leaky_relu_on_the_dpu(tmp_path: Path) -> None:
    text = INPUT + layer("Convolution", "data", "c", "convolution_param { num_output: 4 kernel_size: 1 }")
    text += layer("ReLU", "c", "r", "relu_param { negative_slope: 0.1 }")
    kept = export(text, tmp_path / "net.onnx", target="dpu")
    assert kept.export.inexact == []
    assert "--dpu-leaky" in kept.export.notes[-1].text
    changed = export(text, tmp_path / "net.onnx", target="dpu", dpu_leaky=True)
    assert changed.export.inexact == ["r"]
    assert kept.target is not None and [one.name for one in kept.target.of("cpu")] == ["r"]
    assert changed.target is not None and changed.target.of("cpu") == []
    assert changed.export.model.graph.node[1].attribute[0].f == 26 / 256


def test_a_leaky_relu_after_a_depthwise_convolution_stays_on_the_cpu_whatever_its_slope(tmp_path: Path) -> None:
    text = INPUT + layer("Convolution", "data", "c", "convolution_param { num_output: 3 group: 3 kernel_size: 1 }")
    text += layer("ReLU", "c", "r", "relu_param { negative_slope: 0.1 }")
    done = export(text, tmp_path / "net.onnx", target="dpu", dpu_leaky=True)
    assert done.target is not None
    (found,) = done.target.of("cpu")
    assert found.name == "r" and "after a depthwise Conv: the engine of these has ReLU and ReLU6" in str(found.judgment)


def test_an_activation_after_a_join_of_convolutions_runs_on_each_part(tmp_path: Path) -> None:
    for slope, verdict in ((0, "rewritten"), (26 / 256, "rewritten")):
        text = INPUT + "".join(
            layer("Convolution", "data", name, "convolution_param { num_output: 4 kernel_size: 1 }") for name in "cd"
        )
        text += 'layer { name: "j" type: "Concat" bottom: "c" bottom: "d" top: "j" }'
        text += layer("ReLU", "j", "r", f"relu_param {{ negative_slope: {slope} }}")
        done = export(text, tmp_path / "net.onnx", target="dpu")
        assert operators(done).count("LeakyRelu" if slope else "Relu") == 2
        assert done.target is not None and not done.target.of("cpu")
        assert [one.verdict for one in done.target.layers if one.name == "r"] == [verdict]


def test_interp_needs_leave(tmp_path: Path) -> None:
    text = INPUT + layer("Interp", "data", "big", "interp_param { zoom_factor: 2 }")
    with pytest.raises(NetError, match=r"'big' \(Interp\).*--approx"):
        export(text, tmp_path / "net.onnx", target="dpu")
    done = export(text, tmp_path / "net.onnx", target="dpu", approx=True)
    assert done.export.inexact == ["big"] and done.target is not None
    assert [one.name for one in done.target.of("cpu")] == ["big"]  # 6 to 11 is no whole number
    double = text.replace("zoom_factor: 2", "height: 12 width: 12")
    done = export(double, tmp_path / "net.onnx", target="dpu", approx=True)
    assert done.target is not None and [one.name for one in done.target.of("rewritten")] == ["big"]
    assert export(text, tmp_path / "net.onnx").export.inexact == []


def test_no_softmax_before_argmax(tmp_path: Path) -> None:
    text = INPUT + conv("c", "data", outputs=5) + layer("Softmax", "c", "p")
    text += layer("ArgMax", "p", "best", "argmax_param { axis: 1 }")
    done = export(text, tmp_path / "net.onnx", target="dpu")
    assert "Softmax" not in operators(done)
    assert all(difference.allowed for difference in done.differences)
    assert "Softmax" in operators(export(text, tmp_path / "net.onnx"))


def test_normalizations_are_folded_for_targets(tmp_path: Path) -> None:
    text = INPUT + conv("c", "data", outputs=5) + layer("BatchNorm", "c", "c", name="n") + layer("ReLU", "c", "r")
    done = export(text, tmp_path / "net.onnx", target="dpu")
    assert operators(done) == ["Conv", "Relu"]
    assert done.export.inexact == []
    assert [note.text for note in done.export.notes] == ["folded into 'c'"]
    assert operators(export(text, tmp_path / "net.onnx")) == ["Conv", "BatchNormalization", "Relu"]


def test_a_large_global_mean_for_tidl(tmp_path: Path) -> None:
    pooling = layer("Pooling", "data", "mean", "pooling_param { pool: AVE global_pooling: true }")
    assert "MatMul" in operators(export(input_of(1, 2, 33, 32) + pooling, tmp_path / "n.onnx", target="tidl"))
    assert operators(export(input_of(1, 2, 32, 32) + pooling, tmp_path / "n.onnx", target="tidl")) == [
        "GlobalAveragePool"
    ]


def test_ceil_pooling_has_explicit_pads(tmp_path: Path) -> None:
    pooling = layer("Pooling", "data", "p", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
    (node,) = export(input_of(1, 2, 6, 8) + pooling, tmp_path / "net.onnx").export.model.graph.node
    attributes = {attribute.name: list(attribute.ints) for attribute in node.attribute}
    assert attributes["pads"] == [0, 0, 1, 1]
    assert "ceil_mode" not in attributes


# ------------------------------------------------------------------------------------------------ what reports tell


def notes_of(done: Exported, layer: str) -> list[Note]:
    return [note for note in done.export.notes if note.layer == layer]


def test_the_told_effect_of_a_resize_is_the_effect(tmp_path: Path) -> None:
    done = export(input_of(1, 2, 6, 7) + bilinear(2, 2), tmp_path / "net.onnx", target="tidl")
    (note,) = notes_of(done, "up")
    x = random_inputs(done.net, done.options)["data"]
    wanted = done.net.forward({"data": x})["up"].detach().numpy()
    gaps = np.abs(run_model(tmp_path / "net.onnx", {"data": x})["up"] - wanted) / np.abs(wanted).max()
    assert note.worst == pytest.approx(gaps.max(), rel=1e-5)
    share = (gaps > TOLERANCE).mean()
    assert note.effect == (
        f"{share:.1%} of the values differ, by up to {gaps.max():.2g} of the largest value, all within 1 pixel of the "
        "border"
    )


def test_the_told_effect_of_a_leaky_relu_is_the_effect(tmp_path: Path) -> None:
    text = INPUT + layer("ReLU", "data", "r", "relu_param { negative_slope: 0.05 }")
    done = export(text, tmp_path / "net.onnx", target="dpu", dpu_leaky=True)
    x = random_inputs(done.net, done.options)["data"]
    worst = (26 / 256 - 0.05) * -x.min() / max(x.max(), -0.05 * x.min())
    assert notes_of(done, "r")[0].worst == pytest.approx(worst, rel=1e-4)


def test_effects_beyond_a_float() -> None:
    wanted = np.array([1, -2, 3, 4], np.float32)
    text, worst, changed = effect_of(np.array([1, np.nan, 3, 4], np.float32), wanted)
    assert (worst, changed) == (np.inf, True)
    assert text == "25.0% of the values differ, by up to inf of the largest value"
    for beyond in (np.inf, np.nan, 1e31):  # such nets have no numbers to change
        text, _, changed = effect_of(wanted, np.array([1, -2, 3, beyond], np.float32))
        assert text.startswith("not compared") and not changed


def test_of_equal_scores_tidl_takes_the_first(tmp_path: Path) -> None:
    text = input_of(1, 4, 2, 2) + layer("Power", "data", "flat", "power_param { scale: 0 }")
    done = export(text + layer("ArgMax", "flat", "a", "argmax_param { axis: 1 }"), tmp_path / "n.onnx", target="tidl")
    (note,) = notes_of(done, "a")
    assert not note.exact and note.worst == 1 and note.effect.startswith("100.0% of the values differ")


def test_folding_is_measured_layer_by_layer(tmp_path: Path) -> None:
    text = INPUT + conv("c", "data", outputs=5) + layer("BatchNorm", "c", "c", name="n")
    text += layer("Scale", "c", "s", "scale_param { bias_term: true filler { value: 3 } bias_filler { value: 2 } }")
    done = export(text, tmp_path / "net.onnx", target="tidl")
    assert operators(done) == ["Conv"]
    assert [(note.layer, note.text) for note in done.export.notes] == [
        ("n", "folded into 'c'"),
        ("s", "folded into 'c'"),
    ]
    assert all("numbers unchanged" in note.effect and note.worst < 1e-5 for note in done.export.notes)


def test_a_fold_that_changes_numbers_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = fold_norm.channel_affine

    def wrong(*args: Any) -> Any:
        a, b = right(*args)
        return a * 1.01, b

    monkeypatch.setattr(fold_norm, "channel_affine", wrong)
    text = INPUT + conv("c", "data", outputs=5) + layer("BatchNorm", "c", "n")
    with pytest.raises(DifferentNumbers, match=r"layer 'c' rewritten: 9\d.\d% of the values differ, by up to 0.01"):
        export(text, tmp_path / "net.onnx", target="tidl")
    assert not (tmp_path / "net.onnx").exists()


def test_normalizations_become_convolutions_for_the_dpu(tmp_path: Path) -> None:
    text = input_of(1, 3, 6, 6) + layer("BatchNorm", "data", "n")
    text += layer("Scale", "n", "s", "scale_param { bias_term: true filler { value: 3 } bias_filler { value: 2 } }")
    text += layer("ReLU", "s", "r") + conv("c", "n", outputs=2)
    done = export(text, tmp_path / "net.onnx", target="dpu")
    # "n" feeds two layers, so the Scale after it stays and becomes one too.
    assert operators(done) == ["Conv", "Conv", "Relu", "Conv"]
    groups = [next(a.i for a in node.attribute if a.name == "group") for node in done.export.model.graph.node
              if node.op_type == "Conv"]  # fmt: skip
    assert sorted(groups) == [1, 3, 3]
    assert {note.layer for note in done.export.notes} == {"n", "s"} and done.export.inexact == []
    assert done.target is not None and done.target.of("cpu") == []
    alone = text.replace('bottom: "n" top: "c"', 'bottom: "s" top: "c"')
    done = export(alone, tmp_path / "net.onnx", target="dpu")
    assert [(note.layer, note.text[:12]) for note in done.export.notes] == [
        ("n", "became a dep"),
        ("s", "folded into "),
    ]
    assert "BatchNormalization" in operators(export(alone, tmp_path / "net.onnx", target="tidl"))


def test_stored_statistics_are_told(tmp_path: Path) -> None:
    text = INPUT + conv("c", "data", outputs=5)
    text += layer("BatchNorm", "c", "n", "batch_norm_param { use_global_stats: false }")
    torch.manual_seed(0)
    done = prepared_net(NetDocument.from_message(message(text)), None, ExportOptions(target="tidl"))
    norm = next(one for one in done.net.layers if one.name == "n")
    for slot, value in zip(norm.slots, (0.5, 4.0, 1.0), strict=True):
        slot.tensor().fill_(value)
    write_onnx(done, tmp_path / "net.onnx")
    told, folded = notes_of(done, "n")
    assert not told.exact and "use_global_stats: false" in told.text and folded.exact
    plain = prepared_net(NetDocument.from_message(message(text)), None, ExportOptions()).net
    load_blobs(plain, done.net.blobs_by_layer())
    x = random_inputs(done.net, done.options)
    before, after = (net.forward(x)["n"].detach().numpy() for net in (plain, done.net))
    assert told.effect == f"output 'n': {effect_of(after, before)[0]}" and "values differ" in told.effect


def test_softmax_of_channels_for_tidl(tmp_path: Path) -> None:
    text = input_of(1, 5, 4, 3)
    done = export(text + layer("Softmax", "data", "p"), tmp_path / "net.onnx", target="tidl")
    assert operators(done) == ["Transpose", "Softmax", "Transpose"]
    assert "numbers unchanged" in notes_of(done, "p")[0].effect
    rows = layer("Softmax", "data", "p", "softmax_param { axis: 2 }")
    assert operators(export(text + rows, tmp_path / "net.onnx", target="tidl")) == ["Softmax"]
    assert operators(export(text + layer("Softmax", "data", "p"), tmp_path / "net.onnx", target="dpu")) == ["Softmax"]


@pytest.mark.parametrize("target", ["dpu", "tidl"])
def test_differences_are_sums_for_targets(target: str, tmp_path: Path) -> None:
    text = input_of(1, 3, 4, 4) + conv("a", "data") + conv("b", "data")
    text += (
        'layer { name: "d" type: "Eltwise" bottom: "a" bottom: "b" top: "d" eltwise_param { coeff: 1 coeff: -1 } }\n'
    )
    done = export(text, tmp_path / "net.onnx", target=target)
    assert operators(done)[-2:] == ["Mul", "Add"] and done.target is not None and done.target.of("cpu") == []
    assert notes_of(done, "d")[0].text == "coefficients other than 1 became Mul with constants"
    assert "Sub" in operators(export(text, tmp_path / "net.onnx"))


def test_sums_of_three_are_two_of_two(tmp_path: Path) -> None:
    text = input_of(1, 3, 4, 4) + conv("a", "data") + conv("b", "data") + conv("c", "data")
    text += 'layer { name: "d" type: "Eltwise" bottom: "a" bottom: "b" bottom: "c" top: "d" }\n'
    done = export(text, tmp_path / "net.onnx", target="tidl")
    assert operators(done)[-2:] == ["Add", "Add"] and done.target is not None and done.target.of("cpu") == []


def test_slices_of_channels(tmp_path: Path) -> None:
    cut = 'layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "b" slice_param { slice_point: 1 } }\n'
    text = input_of(1, 3, 4, 4) + cut
    assert operators(export(text, tmp_path / "net.onnx", target="dpu")) == ["Slice", "Slice"]
    assert operators(export(text, tmp_path / "net.onnx", target="tidl")) == ["Split"]


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_groups_for_the_dpu(kind: str, tmp_path: Path) -> None:
    grouped = layer(
        kind, "data", "c",
        "convolution_param { num_output: 12 group: 4 kernel_size: 3 pad: 1 stride: 2 "
        'weight_filler { type: "xavier" } bias_filler { type: "gaussian" std: 1 } }',
    )  # fmt: skip
    text = input_of(1, 8, 5, 5) + grouped + layer("ReLU", "c", "r")
    op = "Conv" if kind == "Convolution" else "ConvTranspose"
    split = export(text, tmp_path / "net.onnx", target="dpu")
    # The activation stands in front of the Concat, where the DPU fuses it.
    assert sorted(operators(split)) == sorted([*["Slice", op, "Relu"] * 4, "Concat"])
    assert operators(split)[-1] == "Concat" and split.export.outputs[0].name == "r"
    assert split.target is not None and split.target.of("cpu") == []
    dense = export(text, tmp_path / "net.onnx", target="dpu", dpu_dense=True)
    assert operators(dense) == [op, "Relu"]
    for done, words in ((split, "of slices, joined"), (dense, "with zeros")):
        (note,) = notes_of(done, "c")
        assert words in note.text and "numbers unchanged" in note.effect
    assert any("slices of the channels" in told for one in split.target.layers for told, _ in one.judgment.warned)


def test_normalize_by_operators_that_tidl_has(tmp_path: Path) -> None:
    text = input_of(1, 3, 4, 4) + layer("Normalize", "data", "n", "norm_param { across_spatial: false }")
    done = export(text, tmp_path / "net.onnx", target="tidl")
    assert "ReduceSum" in operators(done) and "ReduceSumSquare" not in operators(done)
    assert done.target is not None and done.target.of("cpu") == []


def test_ceil_pooling_is_told(tmp_path: Path) -> None:
    pooling = layer("Pooling", "data", "p", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }")
    (note,) = export(input_of(1, 2, 6, 8) + pooling, tmp_path / "net.onnx", target="tidl").export.notes
    assert "explicit pad below and to the right" in note.text and "numbers unchanged" in note.effect
    assert export(input_of(1, 2, 7, 9) + pooling, tmp_path / "net.onnx", target="tidl").export.notes == []


def test_what_is_not_needed_is_told(tmp_path: Path) -> None:
    text = input_of(1, 3, 4, 4) + conv("c", "data") + layer("Dropout", "c", "c", name="d")
    text += 'layer { name: "q" type: "Silence" bottom: "data" }\n'
    done = export(text, tmp_path / "net.onnx", target="dpu")
    assert operators(done) == ["Conv"]
    assert any("Dropout left out: d" in note.text for note in done.export.notes)


def test_targets_versions(tmp_path: Path) -> None:
    pooling = layer("Pooling", "data", "p", "pooling_param { pool: MAX kernel_size: 9 stride: 1 }")
    found = {}
    for version in ("3.5", "1.4"):
        done = export(input_of(1, 2, 12, 12) + pooling, tmp_path / "net.onnx", target="dpu", version=version)
        assert done.target is not None
        found[version] = [one.name for one in done.target.of("cpu")]
    assert found == {"3.5": [], "1.4": ["p"]}


ACTIVATIONS = [
    # type, settings -> verdicts of the DPU and of TIDL
    ("HardSigmoid", "", "runs", "runs"),
    ("HardSigmoid", "hardsigmoid_param { alpha: 0.3 }", "cpu", "runs"),
    ("HardSwish", "", "rewritten", "rewritten"),
    ("HSwish", "", "rewritten", "rewritten"),
    ("Swish", "swish_param { beta: 2 }", "cpu", "rewritten"),
    ("SiLU", "", "cpu", "rewritten"),
    ("Mish", "", "cpu", "cpu"),
    ("GELU", "", "cpu", "rewritten"),
    ("ELU", "", "cpu", "runs"),
    ("ELU", "elu_param { lambda: 1.1 }", "cpu", "rewritten"),
    ("Clip", "clip_param { min: 0 max: 6 }", "runs", "runs"),
    ("Clip", "clip_param { min: -1 max: 1 }", "cpu", "runs"),
    ("Clip", "clip_param { min: 1 max: 2 }", "cpu", "cpu"),
    ("ReLU6", "", "runs", "runs"),
    ("ReLU6", "relu_param { negative_slope: 0.1 }", "cpu", "rewritten"),
]


@pytest.mark.parametrize(("kind", "more", "dpu", "tidl"), ACTIVATIONS)
def test_activations_are_judged_before_the_export_as_in_it(
    kind: str, more: str, dpu: str, tidl: str, tmp_path: Path
) -> None:
    text = INPUT + layer("Convolution", "data", "c", "convolution_param { num_output: 4 kernel_size: 1 }")
    text += layer(kind, "c", "x", more)
    for target, verdict in (("dpu", dpu), ("tidl", tidl)):
        before = check_net(NetDocument.from_message(message(text)), load_table(target))
        done = export(text, tmp_path / "net.onnx", target=target)
        assert done.target is not None
        found = [[one.verdict for one in report.layers if one.name == "x"] for report in (before, done.target)]
        assert found == [[verdict]] * 2, target
