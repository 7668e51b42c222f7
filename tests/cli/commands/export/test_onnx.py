"""caffecompat export onnx: the file, its names and metadata, and what happens where something is wrong."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from caffecompat.cli.main import main
from caffecompat.deploy.onnx import emission, write
from caffecompat.deploy.onnx.verify import run_model
from caffecompat.net import Net
from caffecompat.schema import pb
from tests.net.nets import INPUT, conv, layer

# In-place layers, a dropout, and a loss whose labels go with it.
TEXT = (
    INPUT
    + 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }\n'
    + conv("c", "data", outputs=40)
    + layer("ReLU", "c", "c", name="r")
    + layer("Dropout", "c", "c", name="d")
    + 'layer { name: "fc" type: "InnerProduct" bottom: "c" top: "fc" inner_product_param { num_output: 4 '
    + 'weight_filler { type: "xavier" } } }\n'
    + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a net and its weights."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(TEXT)
    torch.manual_seed(0)
    Net(tmp_path / "net.prototxt", pb.TEST, log=False).save(tmp_path / "net.caffemodel")
    return tmp_path


def run(*flags: str) -> int:
    return main(["export", "onnx", "--model", "net.prototxt", "--weights", "net.caffemodel", *flags, "net.onnx"])


def test_names_and_metadata(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "names.txt").write_text("road\ncar\n")
    assert run("--mean", "1,2,3", "--scale", "0.5", "--labels", "names.txt") == 0
    model = onnx.load("net.onnx")
    assert [(node.op_type, node.name, list(node.output)) for node in model.graph.node] == [
        ("Conv", "c", ["c@c"]),
        ("Relu", "r", ["c"]),
        ("Flatten", "fc/Flatten", ["fc/Flatten"]),
        ("Gemm", "fc", ["fc"]),
    ]
    assert {tensor.name for tensor in model.graph.initializer} == {"c.weight", "c.bias", "fc.weight", "fc.bias"}
    assert (model.ir_version, model.opset_import[0].version) == (8, 13)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["mean"] == "1,2,3"
    assert told["scale"] == "0.5"
    assert told["color_order"] == "BGR"
    assert told["class_names"] == '["road", "car"]'
    assert all(dim.dim_value for value in model.graph.value_info for dim in value.type.tensor_type.shape.dim)
    out = capsys.readouterr().out
    assert "fc: largest difference" in out
    assert "losses left out: loss" in out


def test_baked_preprocessing_takes_rgb_pixels(files: Path) -> None:
    assert run("--mean", "1,2,3", "--scale", "0.5", "--subtract", "0.25", "--bake-preprocessing", "--rgb") == 0
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 6, 6)).astype(np.float32)
    found = run_model("net.onnx", {"data_pixels": pixels[:, ::-1]})["fc"]
    net = Net("net.prototxt", pb.TEST, log=False)
    net.load_weights("net.caffemodel")
    scores = net.layers[5].module.register_forward_hook(lambda _, given, made: seen.append(made.detach().numpy()))
    seen: list[np.ndarray] = []
    prepared = (pixels - np.array([1, 2, 3], np.float32).reshape(3, 1, 1)) * 0.5 - 0.25
    net.forward({"data": prepared.astype(np.float32), "label": np.zeros(2, np.float32)})
    scores.remove()
    np.testing.assert_allclose(found, seen[0], rtol=1e-4, atol=1e-4)


def test_batch_size_opset_and_external_data(files: Path) -> None:
    assert run("--batch", "5", "--size", "6x6", "--opset", "21", "--external-data") == 0
    assert (files / "net.onnx.data").stat().st_size == 4 * 4 * 40 * 36  # tensors below 1 KiB stay inside
    assert (files / "net.onnx").stat().st_size < 4000
    assert run_model("net.onnx", {"data": np.zeros((5, 3, 6, 6))})["fc"].shape == (5, 4)
    assert sorted(path.name for path in files.iterdir()) == [
        "net.caffemodel",
        "net.onnx",
        "net.onnx.data",
        "net.prototxt",
    ]


def test_weights_beyond_a_message_go_outside(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A protobuf message must stay below 2 GiB."""
    monkeypatch.setattr(write, "LARGEST", 1000)
    assert run() == 0
    assert "wrote net.onnx.data: its weights, 23,040 bytes" in capsys.readouterr().out
    onnx.checker.check_model("net.onnx", full_check=True)
    assert (files / "net.onnx.data").stat().st_size == 4 * 4 * 40 * 36
    assert run_model("net.onnx", {"data": np.zeros((2, 3, 6, 6))})["fc"].shape == (2, 4)


@pytest.mark.parametrize("external", [[], ["--external-data"]])
@pytest.mark.parametrize("ending", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_ends_early_leaves_nothing(
    files: Path, monkeypatch: pytest.MonkeyPatch, ending: BaseException, external: list[str]
) -> None:
    def end(*_: object) -> None:
        assert len(list(files.iterdir())) == 3  # something is there already, under another name
        raise ending

    monkeypatch.setattr(write, "verify", end)
    assert run(*external) == (130 if isinstance(ending, KeyboardInterrupt) else 1)
    assert sorted(path.name for path in files.iterdir()) == ["net.caffemodel", "net.prototxt"]


def test_weights_of_another_net(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "net.prototxt").write_text(INPUT + conv("other", "data"))
    assert run() == 2
    assert "none of its layers is in this net" in capsys.readouterr().err


def test_a_wrong_model_is_not_kept(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "net.onnx").write_bytes(b"old")
    wrong = {"ReLU": lambda e: e.op("Sigmoid", e.bottoms[0], to=e.tops[0])}
    monkeypatch.setattr(emission.emitters, "by_type", emission.emitters.by_type | wrong)
    assert run() == 1
    assert "it computes something else: fc: largest difference" in capsys.readouterr().out
    assert (files / "net.onnx").read_bytes() == b"old"
    assert len(list(files.iterdir())) == 3


def test_layers_without_a_form_are_all_named(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = layer("Dropout", "fc", "f1", "dropout_param { sample_weights_test: true }", name="noise")
    more += 'layer { name: "f" type: "Filter" bottom: "c" bottom: "pick" top: "f2" }\n'
    pick = 'layer { name: "pick" type: "Input" top: "pick" input_param { shape { dim: 2 } } }\n'
    (files / "net.prototxt").write_text(
        pick + TEXT.replace('name: "loss"', 'name: "loss" exclude { phase: TEST }') + more
    )
    assert run() == 2
    err = capsys.readouterr().err
    assert "'noise' (Dropout): sample_weights_test" in err
    assert "'f' (Filter): has no form in ONNX: it gives a number of rows that depends on values" in err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--opset", "8"], "9 to 28"),
        (["--rgb"], "--bake-preprocessing"),
        (["--dpu-leaky"], "--target dpu"),
        (["--dpu-dense", "--target", "tidl"], "--dpu-dense needs --target dpu"),
        (["--target-version", "1.4"], "--target-version needs --target"),
        (["--target", "dpu", "--target-version", "9"], "target 'dpu' has no version '9'; there are 3.5, 1.4"),
        (["--target", "dpu", "--calibration", "nowhere"], "cannot read the list nowhere"),
        (["--cut-detection"], "no DetectionOutput"),
        (["--image", "nowhere.png"], "no such picture"),
        (["--batch", "0"], "at least 1"),
        (["--channels", "0"], "at least 1"),
        (["--mean", "1", "--mean-file", "m"], "one of --mean and --mean-file"),
        (["--mean-file", "nowhere"], "cannot read the mean file"),
    ],
)
def test_mistakes(files: Path, capsys: pytest.CaptureFixture[str], flags: list[str], told: str) -> None:
    assert run(*flags) == 2
    assert told in capsys.readouterr().err
    assert not (files / "net.onnx").exists()


def test_the_extra_is_named(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run() == 2
    assert "pip install 'caffecompat[onnx]'" in capsys.readouterr().err


def test_calibration_files_for_the_dpu(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (files / "pictures").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    for index in range(4):
        cv2.imwrite(str(files / f"pictures/{index}.png"), picture)
    flags = ["--target", "dpu", "--batch", "1", "--mean", "10,20,30", "--scale", "0.1"]
    assert run(*flags, "--calibration", "pictures", "--calibration-count", "2") == 0
    listed = (files / "net_calibration.txt").read_text().splitlines()
    assert [Path(path).name for path in listed] == ["0.png", "2.png"]
    Path("list.txt").write_text("".join(f"{index}.png {index}\n" for index in range(7)))
    assert run(*flags, "--calibration", "list.txt", "--calibration-count", "4") == 0
    assert (files / "net_calibration.txt").read_text().split() == ["0.png", "1.png", "3.png", "5.png"]  # not here
    Path("pictures/list.txt").write_text("pictures/1.png\n2.png\n")
    assert run(*flags, "--calibration", "pictures/list.txt") == 0
    absolute = [str(files / f"pictures/{index}.png") for index in (1, 2)]
    assert (files / "net_calibration.txt").read_text().split() == absolute
    assert run(*flags, "--calibration", "pictures", "--calibration-count", "2") == 0
    scope: dict[str, object] = {"__file__": str(files / "net_calibration.py")}
    exec((files / "net_calibration.py").read_text(), scope)
    reader = scope["CalibrationReader"]()  # type: ignore[operator]
    given = [reader.get_next() for _ in range(3)]
    assert given[2] is None
    wanted = (picture.transpose(2, 0, 1)[None] - np.float32([10, 20, 30]).reshape(3, 1, 1)) * np.float32(0.1)
    np.testing.assert_allclose(given[0]["data"], wanted, rtol=1e-6)
    run_model("net.onnx", given[0])
