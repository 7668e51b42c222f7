"""--stage, --level and --set on the verbs that read a net, and nets inside solvers."""

from __future__ import annotations

from pathlib import Path

import pytest

# What DIGITS writes: one prototxt for training, validation and deployment, the last num_output left open.
DIGITS = """name: "LeNet"
layer { name: "train-data" type: "Data" top: "data" top: "label" data_param { batch_size: 64 }
        include { stage: "train" } }
layer { name: "val-data" type: "Data" top: "data" top: "label" data_param { batch_size: 32 } include { stage: "val" } }
layer { name: "scale" type: "Power" bottom: "data" top: "scale" power_param { scale: 0.0125 } }
layer { name: "ip2" type: "InnerProduct" bottom: "scale" top: "ip2" inner_product_param { } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" exclude { stage: "deploy" } }
layer { name: "softmax" type: "Softmax" bottom: "ip2" top: "softmax" include { stage: "deploy" } }
"""
INPUT = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } }
        include { stage: "deploy" } }
"""
SET = ("--set", "ip2.inner_product_param.num_output=10")
STAGE = ("--stage", "deploy")


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    path = tmp_path / "digits.prototxt"
    path.write_text(INPUT + DIGITS)
    return path


def words(verb: str, net: Path, folder: Path) -> list[str]:
    """The command of a verb for a net."""
    return {
        "summary": ["summary", str(net)],
        "check": ["check", str(net), "--target", "dpu"],
        "draw": ["draw", str(net), str(folder / "net.svg")],
        "diff": ["diff", str(net), str(net)],
        "onnx": ["export", "onnx", "--model", str(net), str(folder / "net.onnx")],
        "deploy": ["export", "deploy", "--model", str(net), str(folder / "out") + "/"],
        "torch": ["export", "torch", "--model", str(net), str(folder / "net.py")],
    }[verb]


@pytest.mark.parametrize("verb", ["summary", "check", "draw", "diff", "onnx", "deploy", "torch"])
def test_stage_and_set_make_a_net_of_digits(command, digits: Path, tmp_path: Path, verb: str) -> None:
    result = command(*words(verb, digits, tmp_path), *STAGE, *SET)
    assert result.status == 0, result.err


_NORM = """layer { name: "%s" type: "%s" bottom: "%s" top: "%s" %s }"""


@pytest.mark.parametrize(
    "words",
    [
        "summary net.prototxt",
        "time --model net.prototxt --iterations 1 --phase TEST",
        "test --model own.prototxt --weights w.caffemodel --iterations 1",
        "eval classification --model own.prototxt --weights w.caffemodel",
        "eval segmentation --model own.prototxt --weights w.caffemodel",
        "eval detection --model own.prototxt --weights w.caffemodel",
        "segment p.png --model net.prototxt --weights w.caffemodel --out out",
        "detect p.png --model net.prototxt --weights w.caffemodel --out out",
        "export onnx --model net.prototxt net.onnx",
        "export deploy --model net.prototxt out/",
        "export torch --model net.prototxt net.py",
        "merge-bn net.prototxt w.caffemodel merged.prototxt merged.caffemodel",
        "dump-blobs net.prototxt w.caffemodel blobs --random",
    ],
)
def test_settings_of_all_layers_of_a_pattern_or_type_reach_the_net(command, tmp_path: Path, monkeypatch, words) -> None:
    """The setting that no layer obeys is refused by name, so those before it were understood."""
    monkeypatch.chdir(tmp_path)
    layers = [_NORM % (f"c{i}_bn", "BatchNorm", "data" if i == 0 else f"c{i - 1}_bn", f"c{i}_bn", "") for i in (0, 1)]
    (tmp_path / "net.prototxt").write_text(INPUT.replace('include { stage: "deploy" }', "") + "".join(layers))
    (tmp_path / "own.prototxt").write_text((tmp_path / "net.prototxt").read_text())
    good = ["--set", "*_bn.batch_norm_param.use_global_stats=true", "--set", "@BatchNorm.batch_norm_param.eps=1e-3"]
    result = command(*words.split(), *good, "--set", "*_none.batch_norm_param.eps=1")
    assert result.status == 2
    assert "--set *_none.batch_norm_param.eps=1: " in result.err and "no layer" in result.err


@pytest.mark.parametrize("verb", ["summary", "onnx", "torch"])
def test_an_unset_num_output_says_what_to_set(command, digits: Path, tmp_path: Path, verb: str) -> None:
    result = command(*words(verb, digits, tmp_path), *STAGE)
    assert result.status == 2
    assert "layer 'ip2' (InnerProduct): num_output is missing" in result.err
    assert "--set ip2.inner_product_param.num_output=N" in result.err


@pytest.mark.parametrize("verb", ["summary", "check", "onnx", "deploy", "torch"])
def test_an_undeclared_input_says_what_to_add(command, tmp_path: Path, verb: str) -> None:
    path = tmp_path / "digits.prototxt"
    path.write_text(DIGITS)
    result = command(*words(verb, path, tmp_path), *STAGE, *SET)
    assert result.status == 2
    assert "bottom 'data' is not made by any layer above" in result.err
    assert 'add layer { name: "data" type: "Input" top: "data"' in result.err
    assert 'include { stage: "deploy" } }' in result.err


def test_the_drawing_has_the_layers_of_the_stage(command, digits: Path, tmp_path: Path) -> None:
    drawn = {}
    for stage in ("train", "deploy", ""):
        path = tmp_path / f"{stage or 'all'}.svg"
        assert command("draw", str(digits), str(path), "--stage", stage).status == 0
        drawn[stage] = path.read_text()
    assert "softmax" in drawn["deploy"] and "train-data" not in drawn["deploy"]
    assert "train-data" in drawn["train"] and "softmax (" not in drawn["train"]
    assert "softmax" in drawn[""] and "train-data" in drawn[""]


def test_levels(command, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT.replace('stage: "deploy"', "min_level: 2"))
    assert command("summary", str(path)).status == 0
    assert "data 1x1x8x8" in command("summary", str(path), "--level", "2").out
    assert "data 1x1x8x8" not in command("summary", str(path), "--level", "1").out


@pytest.mark.parametrize("field", ["net_param", "train_net_param", "test_net_param"])
def test_the_net_inside_a_solver_is_looked_at(command, tmp_path: Path, field: str) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text(f"base_lr: 0.1 test_state {{ stage: 'deploy' }} {field} {{ {INPUT} }}")
    result = command("summary", str(path))
    assert result.status == 0
    assert "data 1x1x8x8" in result.out
    assert f"is a solver; this is the net of its {field}" in result.err


def test_the_net_that_a_solver_names(command, tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(INPUT)
    path = tmp_path / "solver.prototxt"
    path.write_text("net: 'net.prototxt' base_lr: 0.1")
    assert "data 1x1x8x8" in command("summary", str(path), *STAGE).out
    path.write_text("base_lr: 0.1")
    assert "names no net" in command("summary", str(path)).err


def test_mistakes_in_a_solvers_net_name_the_solver(command, tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text("base_lr: 0.1 net_param { layer { name: 'a' type: 'Nonsense' top: 'a' } }")
    result = command("summary", str(path))
    assert result.status == 2
    assert f"{path}: net_param: layer 'a' (Nonsense)" in result.err


@pytest.mark.parametrize("kind", ["Data", "ImageData", "WindowData", "MemoryData"])
def test_a_data_layer_without_batch_size_is_one_picture(command, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(f'layer {{ name: "d" type: "{kind}" top: "data" top: "label" }}')
    result = command("summary", str(path), "--size", "32x24")
    assert result.status == 0, result.err
    assert "data 1x3x24x32" in result.out
