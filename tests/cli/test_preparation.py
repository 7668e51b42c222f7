"""What the data layer does to pictures goes from export deploy to every verb that prepares them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.data.preprocess import Preprocess, stated_preprocess
from caffecompat.formats.mean import write_mean
from caffecompat.formats.picture import encode_picture, resize_picture
from caffecompat.net import Net
from caffecompat.schema import pb, read_net

CONV = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "gaussian" std: 0.1 } } }
"""
STD = "mean_value: [103.53, 116.28, 123.675] std_value: [57.375, 57.12, 58.395] scale: 2"
CLASSES = """
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 0.01 } } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "%s" bottom: "label" top: "loss" }'


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a train_val with that transform_param and body, its weights and its deploy net out/deploy.*."""
    from caffecompat.cli.main import main

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 255, (9, 8, 3), np.uint8)
    encoded = encode_picture(picture, ".png")
    assert encoded is not None
    Path("picture.png").write_bytes(encoded)
    mean = np.array([104, 117, 123], np.float32)[:, None, None] * np.ones((3, 6, 7), np.float32)
    write_mean("mean.binaryproto", mean + rng.uniform(-1, 1, mean.shape).astype(np.float32))

    def make(transform: str, body: str = CONV, *, data: str = "Data") -> np.ndarray:
        scores = "ip" if "ip" in body else "conv"
        Path("train_val.prototxt").write_text(
            f'layer {{ name: "data" type: "{data}" top: "data" top: "label" transform_param {{ {transform} }} '
            f'data_param {{ source: "gone" batch_size: 2 }} }} {body} {LOSS % scores}'
        )
        words = ["export", "deploy", "--model", "train_val.prototxt", "--size", "7x6"]
        assert main([*words, "plain"]) == 0
        torch.manual_seed(5)
        Net("plain.prototxt", pb.TEST, log=False).save("net.caffemodel")
        assert main([*words, "--weights", "net.caffemodel", "out/"]) == 0
        return resize_picture(picture.astype(np.float32), 6, 7).transpose(2, 0, 1)[None]

    return make


def test_the_input_states_it(chain, capsys) -> None:
    chain("mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.017 mirror: true crop_size: 6")
    transform = read_net("out/deploy.prototxt").layer[0].transform_param
    assert list(transform.mean_value) == [104, 117, 123] and transform.scale == np.float32(0.017)
    assert not transform.HasField("mirror") and not transform.HasField("crop_size")
    assert "pictures: mean 104,117,123, scale 0.017, as transform_param" in capsys.readouterr().out
    chain("")
    assert read_net("out/deploy.prototxt").layer[0].transform_param == pb.TransformationParameter(scale=1)
    chain(STD)
    stated = read_net("out/deploy.prototxt").layer[0].transform_param
    assert list(stated.std_value) == np.float32([57.375, 57.12, 58.395]).tolist()
    assert (
        "std 57.375,57.12,58.395, as transform_param of the Input (std_value there is ours" in capsys.readouterr().out
    )
    chain("mean_file: 'mean.binaryproto'")
    assert read_net("out/deploy.prototxt").layer[0].transform_param.mean_file == "../mean.binaryproto"


def test_a_second_export_keeps_it(chain, command) -> None:
    chain("mean_value: 9 scale: 0.5")
    assert command("export", "deploy", "--model", "out/deploy.prototxt", "again/net").status == 0
    assert read_net("again/net.prototxt").layer == read_net("out/deploy.prototxt").layer
    merged = command("merge-bn", "out/deploy.prototxt", "out/deploy.caffemodel", "m.prototxt", "m.caffemodel")
    assert merged.status == 0 and read_net("m.prototxt").layer[0].transform_param.scale == 0.5


@pytest.mark.parametrize("data", ["DummyData", "Input"])
def test_what_is_not_known_is_not_stated(command, tmp_path, monkeypatch, data: str) -> None:
    monkeypatch.chdir(tmp_path)
    shape = "shape { dim: 1 dim: 3 dim: 6 dim: 7 }"
    param = {"DummyData": f"dummy_data_param {{ {shape} }}", "Input": f"input_param {{ {shape} }}"}[data]
    Path("net.prototxt").write_text(f'layer {{ name: "data" type: "{data}" top: "data" {param} }} {CONV}')
    assert command("export", "deploy", "--model", "net.prototxt", "out/").status == 0
    assert not read_net("out/deploy.prototxt").layer[0].HasField("transform_param")


@pytest.mark.parametrize("transform", ["mean_value: 100 scale: 0.02", "mean_file: 'mean.binaryproto' scale: 0.5", STD])
def test_dump_blobs_prepares_pictures_so(chain, command, transform: str) -> None:
    pixels = chain(transform)
    words = ["dump-blobs", "out/deploy.prototxt", "out/deploy.caffemodel"]
    result = command(*words, "blobs", "--image", "picture.png")
    assert result.status == 0 and "are prepared as out/deploy.prototxt says" in result.err
    stated = read_net("out/deploy.prototxt").layer
    preprocess = stated_preprocess(stated, "out/deploy.prototxt")
    assert preprocess is not None
    mean = np.array(preprocess.mean, np.float32).reshape(-1, 1, 1)
    std = np.array(preprocess.std or (1,)).reshape(-1, 1, 1)
    wanted = (pixels - mean) * np.float32(preprocess.scale) / std
    np.testing.assert_allclose(np.load("blobs/data.npy"), wanted, rtol=1e-5, atol=1e-6)
    other = command(*words, "raw", "--image", "picture.png", "--mean", "0")
    assert other.status == 0 and "and count" in other.err
    np.testing.assert_array_equal(np.load("raw/data.npy"), pixels)


def test_flags_go_where_the_mean_file_is_gone(chain, command) -> None:
    chain("mean_file: 'mean.binaryproto' scale: 0.5")
    Path("mean.binaryproto").unlink()
    words = ["dump-blobs", "out/deploy.prototxt", "out/deploy.caffemodel", "blobs", "--image", "picture.png"]
    gone = command(*words)
    assert gone.status == 2 and "mean.binaryproto" in gone.err
    assert command(*words, "--mean", "104,117,123", "--scale", "0.5").status == 0


def test_segment_and_eval_prepare_pictures_so(chain, command, monkeypatch) -> None:
    chain("mean_value: 100 scale: 0.02")
    seen = []
    given = Preprocess.__call__

    def spy(self: Preprocess, *words: object) -> np.ndarray:
        seen.append(str(self))
        return given(self, *words)

    monkeypatch.setattr(Preprocess, "__call__", spy)
    files = ["--model", "out/deploy.prototxt", "--weights", "out/deploy.caffemodel"]
    assert command("segment", *files, "picture.png", "--out", "segmented").status == 0
    encoded = encode_picture(np.zeros((9, 8, 1), np.uint8), ".png")
    assert encoded is not None
    Path("label.png").write_bytes(encoded)
    Path("list.txt").write_text("picture.png label.png\n")
    assert command("eval", "segmentation", *files, "--list", "list.txt").status == 0
    assert seen == ["mean 100, scale 0.02"] * 2
    words = ["--model", "train_val.prototxt", "--weights", "out/deploy.caffemodel", "--size", "7x6"]
    assert command("segment", *words, "picture.png", "--out", "again").status == 0
    assert seen[2:] == ["mean 100, scale 0.02"], "of a train_val what its data layer does"


@pytest.mark.parametrize(
    "transform", ["mean_value: 100 scale: 0.02", "mean_file: 'mean.binaryproto' scale: 0.02", STD, "std_value: 58"]
)
def test_classify_and_eval_prepare_pictures_so(chain, command, transform: str) -> None:
    pixels = chain(transform, CONV + CLASSES)
    net = Net("out/deploy.prototxt", pb.TEST, log=False, weights="out/deploy.caffemodel")
    preprocess = stated_preprocess(read_net("out/deploy.prototxt").layer, "out/deploy.prototxt")
    assert preprocess is not None
    mean = np.array(preprocess.mean or (0,), np.float32).reshape(-1, 1, 1)
    std = np.array(preprocess.std or (1,), np.float32).reshape(-1, 1, 1)
    with torch.no_grad():
        wanted = net.forward({"data": (pixels - mean) * np.float32(preprocess.scale) / std})["ip"].numpy()
    words = ["classify", "out/deploy.prototxt", "out/deploy.caffemodel", "picture.png", "--top", "4"]
    result = command(*words)
    assert result.status == 0
    found = {int(label): float(score) for score, label in re.findall(r'(-?[\d.]+) - "(\d)"', result.out)}
    # Pixels are rounded when classify resizes.
    np.testing.assert_allclose([found[label] for label in range(4)], wanted[0], atol=0.05)
    crops = command(*words, "--images_dim", "6,7", "--center_only", "--output", "scores.npy")
    assert crops.status == 0
    np.testing.assert_allclose(np.load("scores.npy"), wanted, atol=0.05)
    Path("list.txt").write_text(f"picture.png {int(wanted.argmax())}\n")
    files = ["--model", "out/deploy.prototxt", "--weights", "out/deploy.caffemodel", "--list", "list.txt"]
    scored = command("eval", "classification", *files)
    assert scored.status == 0 and "1.0" in scored.out


@pytest.mark.parametrize(
    ("transform", "mean", "factor"),
    [
        ("mean_value: 100 scale: 0.02", [100.0], [0.02]),
        (STD, [103.53, 116.28, 123.675], [2 / 57.375, 2 / 57.12, 2 / 58.395]),
        ("std_value: 50", [0.0], [0.02]),
    ],
)
def test_calibration_follows_the_chain(chain, command, transform: str, mean: list[float], factor: list[float]) -> None:
    pytest.importorskip("onnx")
    pixels = chain(transform)
    words = ["--weights", "out/deploy.caffemodel", "--target", "dpu", "--calibration", "list.txt"]
    Path("list.txt").write_text("picture.png\n")
    result = command("export", "onnx", "--model", "out/deploy.prototxt", *words, "net.onnx")
    assert result.status == 0 and "warning: nothing says" not in result.out
    scope: dict[str, object] = {"__file__": str(Path("net_calibration.py").resolve())}
    text = Path("net_calibration.py").read_text()
    assert "prepared as the net was trained" in text
    exec(text, scope)
    batch = scope["CalibrationReader"]().get_next()["data"]  # type: ignore[operator]
    wanted = (pixels - np.reshape(mean, (-1, 1, 1))) * np.reshape(factor, (-1, 1, 1))
    np.testing.assert_allclose(batch, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "flags", [[], ["--mean", "103.53,116.28,123.675", "--scale", "2", "--std", "57.375,57.12,58.395"]]
)
def test_std_goes_into_metadata_and_graph(chain, command, flags: list[str]) -> None:
    onnx = pytest.importorskip("onnx")
    from caffecompat.deploy.onnx.run import run_model

    pixels = chain("scale: 9" if flags else STD)
    words = ["export", "onnx", "--model", "out/deploy.prototxt", "--weights", "out/deploy.caffemodel", *flags]
    assert command(*words, "net.onnx").status == 0
    metadata = {entry.key: entry.value for entry in onnx.load("net.onnx").metadata_props}
    assert [float(part) for part in metadata["std"].split(",")] == pytest.approx([57.375, 57.12, 58.395])
    assert metadata["scale"] == "2.0"
    assert command(*words, "--bake-preprocessing", "baked.onnx").status == 0
    assert "std" not in {entry.key for entry in onnx.load("baked.onnx").metadata_props}
    prepared = (pixels - np.reshape([103.53, 116.28, 123.675], (3, 1, 1))) * 2
    prepared = (prepared / np.reshape([57.375, 57.12, 58.395], (3, 1, 1))).astype(np.float32)
    wanted = run_model("net.onnx", {"data": prepared})["conv"]
    np.testing.assert_allclose(run_model("baked.onnx", {"data_pixels": pixels})["conv"], wanted, rtol=1e-4, atol=1e-5)


def test_tools_of_others_get_std_as_scales(chain, command) -> None:
    """One value goes into scale; one a channel into TIDL's inScale, while Xilinx' Caffe cannot say it."""
    Path("list.txt").write_text("picture.png\n")
    words = ["export", "deploy", "--model", "train_val.prototxt", "--weights", "out/deploy.caffemodel", "--size", "7x6"]
    words += ["--calibration", "list.txt"]
    for target in ("tidl-caffe", "vitis"):
        chain("std_value: 50 scale: 2")
        assert command(*words, "--for", target, "one/net").status == 0
        text = Path("one/net.prototxt").read_text()
        assert "std_value" not in text and "scale: 0.04" in text
    assert "inScale          = 0.04 0.04 0.04" in Path("one/net_tidl_import.txt").read_text()
    chain(STD)
    assert command(*words, "--for", "tidl-caffe", "three/net").status == 0
    scales = re.search(r"inScale +=(.*)", Path("three/net_tidl_import.txt").read_text())
    assert scales is not None
    np.testing.assert_allclose([float(s) for s in scales[1].split()], [2 / 57.375, 2 / 57.12, 2 / 58.395], rtol=1e-4)
    assert "std_value" not in Path("three/net.prototxt").read_text()
    refused = command(*words, "--for", "vitis", "no/net")
    assert refused.status == 2 and "has one std_value a channel, and Xilinx' Caffe one scale" in refused.err


def test_calibration_without_a_known_preparation_stops(chain, command) -> None:
    pytest.importorskip("onnx")
    chain("mean_value: 100 scale: 0.02")
    text = Path("out/deploy.prototxt").read_text()
    start = text.index("transform_param")
    Path("old.prototxt").write_text(text[:start] + text[text.index("input_param", start) :])
    words = ["--model", "old.prototxt", "--weights", "out/deploy.caffemodel", "--target", "dpu", "net.onnx"]
    Path("list.txt").write_text("picture.png\n")
    result = command("export", "onnx", *words, "--calibration", "list.txt")
    assert result.status == 0 and "warning: nothing says how this net's pictures are prepared" in result.out
    written = Path("net_calibration.py").read_text()
    assert "as the net was trained" not in written
    scope: dict[str, object] = {"__file__": str(Path("net_calibration.py").resolve())}
    exec(written, scope)
    with pytest.raises(ValueError, match="fill in MEAN and SCALE"):
        scope["CalibrationReader"]().get_next()  # type: ignore[operator]
    stated = command("export", "onnx", *words, "--calibration", "list.txt", "--mean", "0")
    assert "warning: nothing says" not in stated.out
    assert "MEAN, SCALE, SUBTRACT = [0.0], 1, [0.0]" in Path("net_calibration.py").read_text()
