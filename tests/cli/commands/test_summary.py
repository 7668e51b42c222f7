"""`caffecompat summary`, and the same table in a dry run."""

from __future__ import annotations

import json
import time
from pathlib import Path


def test_the_table(golden: Path, monkeypatch, command) -> None:
    monkeypatch.chdir(golden / "cli")
    result = command("summary", "train_val.prototxt", "--weights", "snap_iter_100.caffemodel")
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0].split() == ["layer", "type", "tops", "parameters", "MACs", "(M)", "zeros", "effective", "(M)"]
    (conv,) = [line.split() for line in lines if line.startswith("conv1 ")]
    assert conv == ["conv1", "Convolution", "conv1", "4x6x6x6", "114", "0.004", "0.0%", "0.004"]
    assert any(line.startswith("parameters   ") for line in lines)
    assert any("layers loaded" in line for line in lines)
    assert "note " not in result.out


def test_a_network_of_the_zoo(tmp_path: Path, monkeypatch, command) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("summary", "lenet", "--set", "ip2.inner_product_param.num_output=5", "--json")
    assert result.status == 0
    found = json.loads(result.out)
    assert (found["name"], found["parameters"]) == ("lenet", 431080 - 5 * 501)
    assert "no such network in the zoo; did you mean lenet?" in command("summary", "lenett").err
    Path("lenet").write_text('layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 } } }')
    assert json.loads(command("summary", "lenet", "--json").out)["parameters"] == 0  # a file of that name comes first


def test_data_that_is_absent(streets: Path, command) -> None:
    for file in streets.rglob("*.txt"):
        file.unlink()
    result = command("summary", "train_val.prototxt", "--phase", "train")
    assert result.status == 2 and "there is no such file" in result.err and "give --size WIDTHxHEIGHT" in result.err
    text = Path("train_val.prototxt").read_text()
    Path("train_val.prototxt").write_text(text.replace("transform_param {", "transform_param { crop_size: 32", 1))
    result = command("summary", "train_val.prototxt", "--phase", "train")
    assert result.status == 0, result.err
    assert (
        "note         layer " in result.out and "taken from the prototxt: data 2x3x32x32, label 2x1x32x32" in result.out
    )


def test_another_size_as_json(golden: Path, monkeypatch, command, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text("""
        layer { name: "in" type: "Data" top: "d" top: "l" data_param { source: "nowhere" batch_size: 4 } }
        layer { name: "c" type: "Convolution" bottom: "d" top: "c" convolution_param { num_output: 2 kernel_size: 1 } }
        layer { name: "s" type: "Silence" bottom: "l" }""")
    table = json.loads(command("summary", "net.prototxt", "--size", "10x6", "--channels", "5", "--json").out)
    assert table["inputs"] == {"d": [4, 5, 6, 10], "l": [4]} and table["batch"] == 4
    assert table["macs"] == 2 * 5 * 6 * 10 and table["layers"][1]["macs_of_the_batch"] == 4 * table["macs"]
    assert table["layers"][1]["receptive_field"] == [1, 1]
    assert "not opened" in table["notes"][0]
    result = command("summary", "net.prototxt")
    assert result.status == 2 and "give --size WIDTHxHEIGHT" in result.err
    result = command("summary", "net.prototxt", "--phase", "both")
    assert result.status == 2 and "expected TRAIN or TEST" in result.err


def test_a_deploy_net_of_another_size(shared: Path, command) -> None:
    deploy = shared / "real/vitis-tutorial-05-seg/model/espnet/deploy.prototxt"
    small = json.loads(command("summary", deploy, "--size", "512x256", "--json").out)
    large = json.loads(command("summary", deploy, "--size", "1024x512", "--json").out)
    assert next(iter(small["inputs"].values())) == [1, 3, 256, 512]
    assert large["macs"] == 4 * small["macs"]


def test_a_deep_net_with_an_unknown_field_in_each_layer(command, tmp_path: Path) -> None:
    layers = [
        f'layer {{ name: "r{i}" type: "ReLU" bottom: "r{i - 1}" top: "r{i}" int8_scaling: {i} }}'
        for i in range(1, 5000)
    ]  # fmt: skip
    first = 'layer { name: "r0" type: "Input" top: "r0" input_param { shape { dim: 1 dim: 3 } } int8_scaling: 0 }'
    path = tmp_path / "deep.prototxt"
    path.write_text("\n".join([first, *layers]))
    start = time.process_time()
    result = command("summary", str(path))
    assert time.process_time() - start < 5
    assert result.status == 0
    [line] = result.err.splitlines()
    assert "deep.prototxt:1:" in line and "has no field 'int8_scaling'" in line and "(5000 times, first here)" in line


def test_effective_macs(tmp_path: Path, monkeypatch, command) -> None:
    """Zeros of the kernel take MACs away, those of the bias do not."""
    import numpy as np

    from caffecompat import read_net, save_caffemodel

    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text("""
        layer { name: "in" type: "Input" top: "d" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 5 } } }
        layer { name: "c" type: "Convolution" bottom: "d" top: "c" convolution_param { num_output: 2 kernel_size: 1 } }
        layer { name: "e" type: "Convolution" bottom: "c" top: "e" convolution_param { num_output: 1 kernel_size: 1 } }
    """)
    kernel = np.array([1, 0, 0, 0], np.float32).reshape(2, 2, 1, 1)
    blobs = {
        "c": [kernel, np.zeros(2, np.float32)],
        "e": [np.ones((1, 2, 1, 1), np.float32), np.zeros(1, np.float32)],
    }
    save_caffemodel("net.caffemodel", read_net("net.prototxt"), blobs)
    table = json.loads(command("summary", "net.prototxt", "--weights", "net.caffemodel", "--json").out)
    assert [layer["effective_macs_of_the_batch"] for layer in table["layers"]] == [0, 20, 40]
    assert table["macs"] == 80 + 40 and table["effective_macs"] == 60
    assert (
        "effective    0.000 M MACs whose weight is not 0"
        in command("summary", "net.prototxt", "--weights", "net.caffemodel").out
    )
