"""``dump-blobs`` and ``compare-blobs``."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.net import Net
from caffecompat.schema import pb

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 6 } } }
layer { name: "a/conv" type: "Convolution" bottom: "data" top: "x"
  convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "a_conv" type: "ReLU" bottom: "x" top: "x" }
layer { name: "cut" type: "Slice" bottom: "x" top: "left" top: "right" slice_param { axis: 3 } }
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Net("net.prototxt", pb.TEST, log=False).save("net.caffemodel")


def test_every_layer_has_a_file_also_in_place(command, small) -> None:
    result = command("dump-blobs", "net.prototxt", "net.caffemodel", "out", "--random", "3")
    assert result.status == 0 and result.out == "wrote 5 blobs to out\n", result.err
    listed = json.loads(Path("out/layers.json").read_text())
    assert [(entry["layer"], entry["file"]) for entry in listed] == [
        ("data", "data.npy"), ("a/conv", "a_conv.npy"), ("a_conv", "a_conv~2.npy"),
        ("cut", "cut.left.npy"), ("cut", "cut.right.npy"),
    ]  # fmt: skip
    conv, relu = np.load("out/a_conv.npy"), np.load("out/a_conv~2.npy")
    assert conv.min() < 0 and conv.flags.c_contiguous and listed[1]["shape"] == [1, 2, 4, 6]
    np.testing.assert_array_equal(np.maximum(conv, 0), relu)
    np.testing.assert_array_equal(np.load("out/cut.right.npy"), relu[..., 3:])


def test_pictures_are_preprocessed_and_inputs_taken_over(command, small) -> None:
    cv2.imwrite("p.png", np.full((4, 6, 3), (10, 20, 30), np.uint8))
    words = ["dump-blobs", "net.prototxt", "net.caffemodel"]
    assert command(*words, "a", "--image", "p.png", "--mean", "1,2,3", "--scale", "0.5").status == 0
    assert np.load("a/data.npy")[0, :, 0, 0].tolist() == [4.5, 9, 13.5]
    assert command(*words, "b", "--input", "a/data.npy").status == 0
    same = command("compare-blobs", "a", "b", "--tolerance", "0")
    assert same.status == 0 and "all 5 blobs within 0" in same.out
    assert command(*words, "c", "--image", "p.png", "--size", "8x2").status == 0
    assert np.load("c/data.npy").shape == (1, 3, 2, 8)
    assert command(*words, "d").status == 2
    assert "takes (1, 3, 4, 6)" in command(*words, "d", "--input", "c/data.npy").err


@pytest.mark.parametrize("flag", ["--input", "--image"])
def test_an_empty_name_is_an_error(command, small, flag: str) -> None:
    result = command("dump-blobs", "net.prototxt", "net.caffemodel", "out", flag, "")
    assert result.status == 2 and "No such file" in result.err and "Traceback" not in result.err


def test_the_first_wrong_layer_is_named(command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    Path("b").mkdir()
    values = np.linspace(-4, 4, 24, dtype=np.float32).reshape(1, 2, 3, 4)
    for name, other in (("z", values), ("y", values + np.float32(0.2)), ("w", values[:, :1])):
        np.save(f"a/{name}.npy", values)
        np.save(f"b/{name}.npy", other)
    np.save("a/alone.npy", values)
    Path("a/layers.json").write_text(json.dumps([{"file": f"{name}.npy"} for name in "zyw"]))
    result = command("compare-blobs", "a", "b", "--tolerance", "0.04")
    assert result.status == 1
    lines = [line.split() for line in result.out.splitlines()]
    assert [line[0] for line in lines[1:4]] == ["z", "y", "w"]
    assert lines[2][1:5] == ["1x2x3x4", "2.000e-01", "2.000e-01", "5.000e-02"]
    assert "only in a: alone" in result.out and "2 of 3 blobs over 0.04, the first is y" in result.out
    report = json.loads(command("compare-blobs", "a", "b", "--json", "--tolerance", "0.06").out)
    assert report["over_tolerance"] == ["w"] and report["alone"] == {"a": ["alone"], "b": []}
    assert command("compare-blobs", "a", "nowhere").status == 2
    for text in ("[" * 100000, '{"a": 1}', "[1]", "[" + "9" * 5000 + "]", "\0"):
        Path("a/layers.json").write_text(text)
        result = command("compare-blobs", "a", "b")
        assert result.status == 2 and "layers.json" in result.err
    Path("a/layers.json").write_text(json.dumps([{"file": ["y.npy"], "blob": {"x": []}}, {}]))
    assert command("compare-blobs", "a", "b").status == 1


def test_the_trace_of_a_tidl_board(command, small) -> None:
    words = ["dump-blobs", "net.prototxt", "net.caffemodel"]
    assert command(*words, "desktop", "--random", "3").status == 0
    assert command(*words, "board", "--random", "3", "--layout", "tidl").out == "wrote 5 blobs to board\n"
    names = sorted(path.name for path in Path("board").iterdir())
    assert names[0] == "subgraph_0_tidl_net.bin.layer_info.txt"
    assert names[2] == "tidl_trace_subgraph_0_0001_0001_0001_00001_00002_000006x00004_float.bin"
    assert Path("board", names[0]).read_text().splitlines() == [
        "0 0 data", "1 1 x@a/conv", "2 2 x", "3 3 left", "4 4 right"
    ]  # fmt: skip
    same = command("compare-blobs", "desktop", "board", "--tolerance", "0")
    assert same.status == 0 and "all 5 blobs within 0" in same.out and "a_conv~2 " in same.out
    # A board merges the convolution with its ReLU, renumbers its layers, and is wrong in the last.
    Path("board", names[2]).unlink()
    right = Path("board", names[5])
    (np.fromfile(right, "<f4") + 1).tofile(right)
    found = command("compare-blobs", "desktop", "board")
    assert found.status == 1 and "only in desktop: a_conv\n" in found.out
    assert "1 of 4 blobs over 0.0001, the first is cut.right" in found.out
    Path("board", names[0]).unlink()
    assert "no *.layer_info.txt" in command("compare-blobs", "desktop", "board").err


def test_traces_without_numbers_that_mean_something(command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("fixed", "short"):
        Path(folder).mkdir()
    Path("fixed/tidl_trace_subgraph_0_0001_0001_0001_00001_00002_000006x00004.y").write_bytes(bytes(48))
    assert "fixed-point traces alone" in command("compare-blobs", "fixed", "fixed").err
    Path("short/tidl_trace0007_00001_00002_00006x00004_float.bin").write_bytes(bytes(8))
    Path("short/1_tidl_net.bin.layer_info.txt").write_text("3 7 fc\n")
    assert "2 values, its name says (1, 2, 4, 6)" in command("compare-blobs", "short", "short").err


FOLDABLE = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 6 } } }
layer { name: "one" type: "Convolution" bottom: "data" top: "x"
  convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "one/bn" type: "BatchNorm" bottom: "x" top: "x" }
layer { name: "one/scale" type: "Scale" bottom: "x" top: "x" scale_param {
  bias_term: true filler { type: "gaussian" std: 2 } bias_filler { type: "gaussian" std: 1 } } }
layer { name: "one/relu" type: "ReLU" bottom: "x" top: "x" }
layer { name: "two" type: "Convolution" bottom: "x" top: "two"
  convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "two/scale" type: "Scale" bottom: "two" top: "y" scale_param { filler { type: "gaussian" std: 2 } } }
layer { name: "two/relu" type: "ReLU" bottom: "y" top: "y" }
"""


def test_folded_layers_are_compared_by_what_they_hold(command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(FOLDABLE)
    Net("net.prototxt", pb.TEST, log=False).save("net.caffemodel")
    assert command("merge-bn", "net.prototxt", "net.caffemodel", "folded.prototxt", "folded.caffemodel").status == 0
    assert command("dump-blobs", "net.prototxt", "net.caffemodel", "whole", "--random", "3").status == 0
    assert command("dump-blobs", "folded.prototxt", "folded.caffemodel", "folded", "--random", "3").status == 0
    result = command("compare-blobs", "whole", "folded")
    assert result.status == 0 and "all 5 blobs within" in result.out, result.out
    assert "only in whole: one, one_bn, two\n" in result.out and "only in folded" not in result.out
    result = command("compare-blobs", "folded", "whole")
    assert result.status == 0 and "all 5 blobs within" in result.out, result.out
    wrong = np.load("folded/one.npy")
    np.save("folded/one.npy", wrong + 1)
    assert "1 of 5 blobs over 0.0001, the first is one_scale" in command("compare-blobs", "whole", "folded").out
