"""Preprocessing in metadata and graph, mean files among it, and the random pictures to compare on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from caffecompat.cli.main import main
from caffecompat.deploy.onnx.export import ExportOptions
from caffecompat.deploy.onnx.pictures import random_inputs
from caffecompat.deploy.onnx.run import run_model
from caffecompat.formats.mean import write_mean
from tests.net.nets import conv, make_net

DATA = (
    'layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "nowhere" batch_size: 4 }\n'
    'transform_param { mean_file: "mean.binaryproto" scale: 0.5 crop_size: 6 } }\n'
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A train_val whose data layer names a mean file; its only convolution passes its input on."""
    monkeypatch.chdir(tmp_path)
    one = conv("c", "data", outputs=3).replace('type: "gaussian" std: 1', 'type: "msra"')
    (tmp_path / "net.prototxt").write_text(DATA + one)
    return tmp_path


def mean_picture() -> np.ndarray:
    return np.random.default_rng(0).uniform(50, 200, (3, 10, 8)).astype(np.float32)


def metadata() -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load("net.onnx").metadata_props}


def export(*flags: str) -> int:
    return main(["export", "onnx", "--model", "net.prototxt", *flags, "net.onnx"])


def test_a_mean_picture_is_told_by_its_channels(folder: Path) -> None:
    write_mean("mean.binaryproto", mean_picture())
    assert export() == 0
    told = metadata()
    assert [float(part) for part in told["mean"].split(",")] == pytest.approx(mean_picture().mean((1, 2)), rel=1e-4)
    assert told["scale"] == "0.5" and "picture" in told["mean_of"]


@pytest.mark.parametrize("rgb", [False, True])
def test_a_mean_picture_goes_into_the_graph(folder: Path, rgb: bool) -> None:
    """The middle of it, as Caffe crops it with the picture."""
    write_mean("mean.binaryproto", mean_picture())
    assert export("--bake-preprocessing", *(["--rgb"] if rgb else [])) == 0
    model = onnx.load("net.onnx")
    weight, bias = (
        onnx.numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name))
        for name in ("c.weight", "c.bias")
    )
    pixels = np.random.default_rng(1).integers(0, 256, (1, 3, 6, 6)).astype(np.float32)
    x = (pixels - mean_picture()[:, 2:8, 1:7]) * 0.5
    wanted = np.einsum("oi,nihw->nohw", weight[:, :, 0, 0], x) + bias.reshape(1, -1, 1, 1)
    found = run_model("net.onnx", {"data_pixels": pixels[:, ::-1] if rgb else pixels})["c"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


def test_a_mean_of_one_value_a_channel_is_that(folder: Path) -> None:
    write_mean("other.binaryproto", np.broadcast_to(np.array([1, 2, 3], np.float32).reshape(3, 1, 1), (3, 4, 4)))
    assert export("--mean-file", "other.binaryproto", "--scale", "2") == 0
    assert metadata()["mean"] == "1,2,3" and metadata()["scale"] == "2.0" and "mean_of" not in metadata()


def test_a_mean_file_that_is_not_there_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export() == 0
    assert "mean_file: mean.binaryproto: there is no such file" in capsys.readouterr().out
    assert "mean" not in metadata()
    assert export("--bake-preprocessing") == 2
    assert "--mean-file FILE, or --mean B,G,R" in capsys.readouterr().err


def test_a_mean_that_does_not_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mean("mean.binaryproto", mean_picture()[:, :5])
    assert export() == 0
    assert "the mean picture is 8x5" in capsys.readouterr().out
    assert export("--bake-preprocessing") == 2
    assert export("--mean", "1,2", "--scale", "2") == 2
    assert "mean has 2 values, the input 3 channel(s)" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(1, 3, 40, 60), (2, 1, 1, 1), (1, 3, 2, 300)])
def test_random_pictures_have_no_plane_of_one_value(shape: tuple[int, ...]) -> None:
    """Where maximum pooling found equal values, rounding would say which is the greatest."""
    dims = " ".join(f"dim: {size}" for size in shape)
    text = f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}\n'
    net = make_net(text + conv("c", "data"))
    picture = random_inputs(net, ExportOptions())["data"]
    assert picture.shape == shape and picture.dtype == np.float32 and np.isfinite(picture).all()
    assert (np.diff(picture, axis=3) != 0).all()
    assert (random_inputs(net, ExportOptions())["data"] == picture).all()
