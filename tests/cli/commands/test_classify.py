"""`caffecompat classify`."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat import pycaffe
from caffecompat.formats import save_caffemodel
from caffecompat.formats.mean import write_mean
from caffecompat.schema import read_net

DEPLOY = """
name: "mean"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "mean" type: "Pooling" bottom: "data" top: "mean" pooling_param { pool: AVE global_pooling: true } }
layer { name: "pick" type: "InnerProduct" bottom: "mean" top: "pick"
  inner_product_param { num_output: 3 bias_term: false } }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A net that answers with the means of the input's channels, and pictures of random noise."""
    monkeypatch.chdir(tmp_path)
    Path("deploy.prototxt").write_text(DEPLOY)
    save_caffemodel("net.caffemodel", read_net("deploy.prototxt"), {"pick": [np.eye(3, dtype=np.float32)]})
    generator = np.random.default_rng(0)
    Path("in").mkdir()
    for name, size in (("a", (8, 8)), ("b", (20, 24)), ("c", (8, 8))):
        cv2.imwrite(f"in/{name}.png", generator.integers(0, 256, (*size, 3), dtype=np.uint8))
    Path("labels.txt").write_text("blue\ngreen\nred\n")
    return tmp_path


NET = ("deploy.prototxt", "net.caffemodel")


def test_whole_pictures(folder: Path, command) -> None:
    result = command("classify", *NET, "in/a.png", "in", "--mean", "10,20,30", "--input_scale", "0.5", "--json")
    assert result.status == 0, result.err
    pictures = json.loads(result.out)["pictures"]
    assert [entry["picture"] for entry in pictures] == ["in/a.png", "in/a.png", "in/b.png", "in/c.png"]
    for entry in pictures:
        pixels = cv2.resize(cv2.imread(entry["picture"]), (8, 8)).astype(np.float32)
        expected = (pixels.mean((0, 1)) - [10, 20, 30]) * 0.5
        order = np.argsort(-expected)
        assert [best["class"] for best in entry["top"]] == order.tolist()
        assert [best["score"] for best in entry["top"]] == pytest.approx(expected[order].tolist(), rel=1e-5)


def test_the_words_of_cpp_classification(folder: Path, command) -> None:
    write_mean("mean.binaryproto", np.arange(3 * 5 * 4, dtype=np.float32).reshape(3, 5, 4))
    result = command("classify", *NET, "mean.binaryproto", "labels.txt", "in/a.png")
    expected = cv2.imread("in/a.png").mean((0, 1)) - [9.5, 29.5, 49.5]
    order = np.argsort(-expected)
    assert result.out.splitlines() == [
        "---------- Prediction for in/a.png ----------",
        *(f'{expected[i]:.4f} - "{("blue", "green", "red")[i]}"' for i in order),
    ]


@pytest.mark.parametrize("flags", [[], ["--images_dim", "8,8", "--center_only"]])
def test_std_divides_each_channel(folder: Path, command, flags: list[str]) -> None:
    """The net gives its channels' means; zeros of other pictures do not matter."""
    words = ["classify", *NET, "in", "--ext", "png", "--output", "out.npy", *flags]
    assert command(*words).status == 0
    plain = np.load("out.npy")
    assert command(*words, "--mean", "5,6,7", "--std", "2,4,5", "--input_scale", "3").status == 0
    np.testing.assert_allclose(np.load("out.npy"), (plain - [5, 6, 7]) * 3 / [2, 4, 5], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("center", [False, True])
def test_crops_are_pycaffes(folder: Path, command, center: bool) -> None:
    np.save("mean.npy", np.full((3, 8, 8), [[[5]], [[6]], [[7]]], np.float32))
    flags = ["--images_dim", "12,14", "--mean_file", "mean.npy", "--channel_swap", "2,0,1", "--raw_scale", "100"]
    flags += ["--input_scale=0.1", *(["--center_only"] if center else [])]
    words = ["--model_def", NET[0], "--pretrained_model", NET[1], "in", "out.npy", "--ext", "png"]
    result = command("classify", *words, *flags)
    assert (result.status, result.out) == (0, ""), result.err
    net = pycaffe.Classifier(
        *NET, image_dims=(12, 14), mean=np.float32([5, 6, 7]), input_scale=0.1, raw_scale=100, channel_swap=(2, 0, 1)
    )
    images = [pycaffe.io.load_image(f"in/{name}.png") for name in "abc"]
    np.testing.assert_array_equal(np.load("out.npy"), net.predict(images, not center).reshape(3, 3))


def test_arrays(folder: Path, command) -> None:
    images = np.random.default_rng(1).random((5, 8, 8, 3)).astype(np.float32)
    np.save("in.npy", images)
    result = command("classify", *NET, "in.npy", "--output", "out.npy", "--print_results", "--top", "1")
    np.testing.assert_allclose(np.load("out.npy"), 255 * images.mean((1, 2))[:, ::-1], rtol=1e-5)
    assert [line for line in result.out.splitlines() if "Prediction" in line][3] == (
        "---------- Prediction for in.npy[3] ----------"
    )
    assert len(result.out.splitlines()) == 10


def test_gray_digits(shared: Path, tmp_path: Path, command) -> None:
    real = shared / "real"
    images = real / "jacinto-caffe/classification/images"
    result = command(
        "classify", real / "bvlc/examples/mnist/lenet.prototxt", real / "lenet-v2/lenet_iter_10000.caffemodel",
        *(images / f"{name}.png" for name in ("zero", "one", "three", "four", "five")),
        "--raw_scale", "1", "--mean", "1", "--input_scale", "-1", "--json",
    )  # fmt: skip
    # Black on white, where the net was trained on white on black: 1 - pixel.
    assert [entry["top"][0]["class"] for entry in json.loads(result.out)["pictures"]] == [0, 1, 3, 4, 5]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*NET], "needs MODEL WEIGHTS INPUT"),
        (["--model", NET[0], "in"], "give both --model and --weights"),
        ([*NET, "in", "--center_only"], "--center_only needs --images_dim"),
        ([*NET, "in", "--images_dim", "256"], "expected HEIGHT,WIDTH"),
        ([*NET, "in", "--channel_swap", "0,1"], "expected an order of 0,1,2"),
        ([*NET, "in", "--mean", "1,2"], "2 means for the 3 channel(s)"),
        ([*NET, "in", "--std", "1,2"], "2 values of --std for the 3 channel(s)"),
        ([*NET, "in", "--std", "1,0,2"], "--std 1,0,2: expected numbers above 0"),
        ([*NET, "in", "--std", "x"], "--std x: expected one number a channel, as in 57.375"),
        ([*NET, "absent.png"], "absent.png: no such file, or not a picture"),
        ([*NET, "in", "--ext", "tif"], "holds no pictures (.tif)"),
        ([*NET, "in", "--labels", "deploy.prototxt"], "labels, the net has 3 classes"),
        ([*NET, "absent.npy"], "absent.npy: cannot be read: No such file"),
    ],
)
def test_mistakes(folder: Path, command, words: list[str], message: str) -> None:
    result = command("classify", *words)
    assert result.status == 2 and message in result.err
