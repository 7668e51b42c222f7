"""A net that pools over the picture and comes back to the map's size works on the input size that --size says."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from caffecompat.cli.main import main
from caffecompat.deploy.onnx.run import run_model
from caffecompat.deploy.torch_source.source import load_source
from caffecompat.formats import save_caffemodel
from caffecompat.net import Net
from caffecompat.schema import open_net, pb, read_net

WEIGHT = 'weight_filler { type: "gaussian" std: 0.4 }'
# DeepLab's image pooling and a pyramid as PSPNet's, without a size in any layer.
NET = f"""
name: "pyramid"
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 3 dim: 16 dim: 24 }} }} }}
layer {{ name: "stem" type: "Convolution" bottom: "data" top: "stem"
  convolution_param {{ num_output: 6 kernel_size: 3 stride: 2 pad: 1 {WEIGHT} }} }}
layer {{ name: "act" type: "HardSwish" bottom: "stem" top: "stem" }}
layer {{ name: "path" type: "DropPath" bottom: "stem" top: "stem" drop_path_param {{ drop_prob: 0.2 }} }}
layer {{ name: "image" type: "Pooling" bottom: "stem" top: "image" pooling_param {{ pool: AVE global_pooling: true }} }}
layer {{ name: "image_conv" type: "Convolution" bottom: "image" top: "image_conv"
  convolution_param {{ num_output: 2 kernel_size: 1 {WEIGHT} }} }}
layer {{ name: "image_up" type: "Interp" bottom: "image_conv" bottom: "stem" top: "image_up" }}
layer {{ name: "bins" type: "Pooling" bottom: "stem" top: "bins"
  pooling_param {{ pool: AVE kernel_size: 4 stride: 4 }} }}
layer {{ name: "bins_up" type: "Interp" bottom: "bins" bottom: "stem" top: "bins_up" }}
layer {{ name: "cat" type: "Concat" bottom: "stem" bottom: "image_up" bottom: "bins_up" top: "cat" }}
layer {{ name: "score" type: "Convolution" bottom: "cat" top: "score"
  convolution_param {{ num_output: 4 kernel_size: 1 {WEIGHT} }} }}
layer {{ name: "whole" type: "Interp" bottom: "score" bottom: "data" top: "whole" }}
"""
WIDTH, HEIGHT = 44, 30
SIZE = f"{WIDTH}x{HEIGHT}"
FILES = ["--model", "net.prototxt", "--weights", "net.caffemodel"]


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """A folder with the net, its weights and a picture; a blob of the other size and the scores for it."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    torch.manual_seed(2)
    net = Net(open_net("net.prototxt"), pb.TEST, log=False)
    save_caffemodel("net.caffemodel", read_net("net.prototxt"), net.blobs_by_layer())
    rng = np.random.default_rng(1)
    cv2.imwrite("picture.png", rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    data = rng.standard_normal((1, 3, HEIGHT, WIDTH), np.float32)
    net.reshape({"data": data.shape})
    with torch.no_grad():
        whole = net.forward({"data": data})["whole"].numpy()
    assert whole.shape == (1, 4, HEIGHT, WIDTH)
    return data, whole


@pytest.mark.parametrize("opset", ["9", "13", "18"])
@pytest.mark.parametrize("batch", [[], ["--batch", "dynamic"]])
def test_onnx(wanted: tuple[np.ndarray, np.ndarray], opset: str, batch: list[str]) -> None:
    assert main(["export", "onnx", *FILES, "net.onnx", "--size", SIZE, "--opset", opset, *batch]) == 0
    found = run_model("net.onnx", {"data": wanted[0]})["whole"]
    np.testing.assert_allclose(found, wanted[1], rtol=1e-4, atol=1e-5)


def test_torch_source_of_one_size_runs_at_another(wanted: tuple[np.ndarray, np.ndarray]) -> None:
    assert main(["export", "torch", *FILES, "made.py"]) == 0
    with torch.no_grad():
        found = load_source("made.py")(torch.from_numpy(wanted[0]))
    found = found["whole"] if isinstance(found, dict) else found
    np.testing.assert_allclose(found.numpy(), wanted[1], rtol=1e-4, atol=1e-5)
    assert main(["export", "torch", *FILES, "other.py", "--size", SIZE]) == 0


def test_deploy(wanted: tuple[np.ndarray, np.ndarray]) -> None:
    assert main(["export", "deploy", *FILES, "out/net", "--size", SIZE]) == 0
    net = Net(open_net("out/net.prototxt"), pb.TEST, log=False, weights="out/net.caffemodel")
    assert net.blob_shapes["data"] == (1, 3, HEIGHT, WIDTH)
    assert "DropPath" not in {layer.type for layer in net.layers}
    with torch.no_grad():
        np.testing.assert_allclose(net.forward({"data": wanted[0]})["whole"].numpy(), wanted[1], rtol=1e-5, atol=1e-6)


def test_summary_and_check(wanted: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "net.prototxt", "--size", SIZE, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    shapes = {layer["name"]: layer["tops"] for layer in summary["layers"]}
    assert str([1, 4, HEIGHT, WIDTH]) in str(shapes["whole"]) and str([1, 6, 15, 22]) in str(shapes["bins_up"])
    main(["check", "net.prototxt", "--target", "dpu", "--size", SIZE, "--json"])
    layers = {layer["name"]: layer for layer in json.loads(capsys.readouterr().out)["targets"][0]["layers"]}
    assert layers["whole"]["verdict"] == "refused" and layers["path"]["verdict"] == "left out"


def test_segment_and_eval(wanted: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", *FILES, "--size", SIZE, "--out", "out", "--raw", "picture.png"]) == 0
    pixels = cv2.imread("picture.png").transpose(2, 0, 1)[None].astype(np.float32)
    net = Net(open_net("net.prototxt"), pb.TEST, log=False, weights="net.caffemodel")
    net.reshape({"data": pixels.shape})
    with torch.no_grad():
        best = net.forward({"data": pixels})["whole"][0].argmax(0).numpy().astype(np.uint8)
    cv2.imwrite("label.png", best)
    Path("list.txt").write_text("picture.png label.png\n")
    capsys.readouterr()
    assert main(["eval", "segmentation", *FILES, "--size", SIZE, "--list", "list.txt", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pixel_accuracy"] == 1, result
