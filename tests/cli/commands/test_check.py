"""`caffecompat check --target`: text, JSON, exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 9 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" relu_param { negative_slope: 0.1 } }
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    return tmp_path


def test_what_is_told(net: Path, command) -> None:
    result = command("check", "net.prototxt", "--target", "dpu")
    assert result.status == 0
    assert (
        "1 ReLU (r): negative_slope 0.1: the DPU has 26/256 = 0.1015625 alone; fine-tune with that [A6]" in result.out
    )
    assert "  [A6] Xilinx/Vitis-AI" in result.out and "note: batch 2" in result.out and "[T1]" not in result.out
    *_, remedy, blank, verdict = result.out.splitlines()
    assert (remedy, blank) == ("  r: negative_slope: 0.1015625, and fine-tune", "")
    assert verdict == "verdict, dpu 3.5: 1 of 2 layers falls to the CPU"
    assert "c  " in command("check", "net.prototxt", "--target", "dpu", "--all").out


def test_both_targets_as_json(net: Path, command) -> None:
    table = json.loads(command("check", "net.prototxt", "--target", "dpu,tidl", "--json").out)
    assert [(one["target"], [x["verdict"] for x in one["layers"]]) for one in table["targets"]] == [
        ("dpu", ["left out", "runs", "cpu"]), ("tidl", ["left out", "runs", "runs"])
    ]  # fmt: skip
    assert table["warnings"] == []
    assert [one["verdict"] for one in table["targets"]] == [
        "1 of 2 layers falls to the CPU", "runs on TIDL whole (2 layers)"
    ]  # fmt: skip
    assert table["targets"][0]["layers"][2]["remedies"] == ["negative_slope: 0.1015625, and fine-tune"]


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        (("torch", "--model", "net.prototxt", "net.py"), "verdict: same numbers as the net, up to "),
        (("onnx", "--model", "net.prototxt", "net.onnx"), "verdict: same numbers as the net, up to "),
        (
            ("onnx", "--model", "net.prototxt", "--target", "dpu", "--batch", "1", "net.onnx"),
            "verdict, dpu 3.5: 1 of 2 layers falls to the CPU",
        ),
        (
            ("onnx", "--model", "net.prototxt", "--target", "tidl", "net.onnx"),
            "verdict, tidl 2025-05: runs on TIDL whole (2 layers)",
        ),
        (
            ("deploy", "--model", "net.prototxt", "out/"),
            "verdict: the net's own layers and numbers; none was rewritten",
        ),
    ],
)
def test_exports_end_with_a_verdict(net: Path, command, words: tuple[str, ...], verdict: str) -> None:
    result = command("export", *words)
    assert result.status == 0
    assert result.out.splitlines()[-1].startswith(verdict)


def test_a_refused_layer(net: Path, command) -> None:
    with Path("net.prototxt").open("a") as file:
        file.write('layer { name: "i" type: "Interp" bottom: "c" top: "i" interp_param { zoom_factor: 2 } }')
    result = command("check", "net.prototxt", "--target", "tidl", "--target-version", "tvm")
    assert result.status == 1 and "1 refused" in result.out and "align_corners" in result.out


def test_mistakes(net: Path, command) -> None:
    assert command("check", "net.prototxt").status == 2
    result = command("check", "net.prototxt", "--target", "tpu")
    assert result.status == 2 and "there are dpu, tidl" in result.err
    assert (
        "needs exactly one target"
        in command("check", "net.prototxt", "--target", "dpu,tidl", "--target-version", "1").err
    )
