"""caffecompat quantize: a net and pictures make what vai_q_caffe makes of a net with a data layer."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat import load_caffemodel, read_net
from caffecompat.cli.main import main
from caffecompat.formats import save_caffemodel
from caffecompat.schema import pb
from tests.api_examples import write_examples

TRANSFORM = "transform_param { mean_value: [100, 110, 120] scale: 0.02 }"
INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 12, 16] } } %s }'
LISTED = """layer { name: "data" type: "ImageData" top: "data" top: "label"
  image_data_param { source: "random.txt" batch_size: %d new_height: 12 new_width: 16 } %s }"""
BODY = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "up" type: "Deconvolution" bottom: "conv" top: "up"
  convolution_param { num_output: 4 group: 4 kernel_size: 2 stride: 2 } }
layer { name: "up_bn" type: "BatchNorm" bottom: "up" top: "up" }
layer { name: "drop" type: "Dropout" bottom: "up" top: "up" }
layer { name: "fc" type: "InnerProduct" bottom: "up" top: "fc" inner_product_param { num_output: 5 } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    Path("pictures").mkdir()
    for number in range(5):
        picture = rng.integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(f"pictures/{number}.png", cv2.resize(picture, (16, 12), interpolation=cv2.INTER_NEAREST))
    Path("random.txt").write_text("".join(f"pictures/{number}.png 0\n" for number in range(5)))
    Path("deploy.prototxt").write_text(INPUT % TRANSFORM + BODY)
    Path("train_val.prototxt").write_text(LISTED % (2, TRANSFORM) + BODY + LOSS)
    shapes = {"conv": [(4, 3, 3, 3), (4,)], "up": [(4, 1, 2, 2), (4,)], "fc": [(5, 4 * 20 * 28), (5,)]}
    blobs = {
        name: [rng.standard_normal(shape).astype(np.float32) * 0.2 for shape in own] for name, own in shapes.items()
    }
    for name in ("bn", "up_bn"):
        mean, variance = rng.standard_normal(4).astype(np.float32), rng.uniform(0.5, 2, 4).astype(np.float32)
        blobs[name] = [mean, variance, np.ones(1, np.float32)]
    save_caffemodel("net.caffemodel", read_net("deploy.prototxt"), blobs)
    return tmp_path


def quantize(model: str, pictures: str, out: str, *more: str) -> int:
    return main(["quantize", model, "net.caffemodel", pictures, out, *more])


def blobs_of(path: str) -> dict[str, list[list[float]]]:
    return {name: [np.ravel(blob).tolist() for blob in own] for name, own in load_caffemodel(path).items()}


def test_equal_to_the_quantizer_with_a_data_layer(folder: Path) -> None:
    assert (
        quantize("train_val.prototxt", "random.txt", "ours", "--batch", "2", "--iterations", "4", "--as-original") == 0
    )
    given = ["-model", "train_val.prototxt", "-weights", "net.caffemodel", "-output_dir", "theirs", "-calib_iter", "4"]
    assert main(["vai_q_caffe", "quantize", *given]) == 0
    assert blobs_of("ours/deploy.caffemodel") == blobs_of("theirs/deploy.caffemodel")


def test_lists_folders_and_databases_are_the_same(folder: Path) -> None:
    assert main(["lmdb", "build", "random.txt", "base"]) == 0
    Path("plain.txt").write_text("".join(f"{number}.png label.png\n" for number in range(5)))
    Path("plain.txt").rename("pictures/plain.txt")  # relative to the list, a word after it
    for out, model, pictures in (
        ("a", "deploy.prototxt", "random.txt"), ("b", "deploy.prototxt", "pictures"),
        ("c", "deploy.prototxt", "base"), ("d", "train_val.prototxt", "pictures/plain.txt"),
    ):  # fmt: skip
        assert quantize(model, pictures, out) == 0
    first = blobs_of("a/deploy.caffemodel")
    assert all(blobs_of(f"{out}/deploy.caffemodel") == first for out in "bcd")
    layer = read_net("b/quantize_train_test.prototxt").layer[0]
    assert (list(layer.transform_param.mean_value), layer.image_data_param.batch_size) == ([100, 110, 120], 1)
    assert len(Path(layer.image_data_param.source).read_text().splitlines()) == 5
    entry = read_net("c/deploy.prototxt").layer[0]
    assert (entry.type, list(entry.input_param.shape[0].dim)) == ("Input", [1, 3, 12, 16])


def test_flags_say_how_pictures_are_prepared(folder: Path) -> None:
    Path("deploy.prototxt").write_text(INPUT % "" + BODY)
    assert quantize("deploy.prototxt", "pictures", "a", "--mean", "100,110,120", "--scale", "0.02") == 0
    assert quantize("deploy.prototxt", "pictures", "b", "--scale", "0.02", "--subtract", "2,2.2,2.4") == 0
    Path("deploy.prototxt").write_text(INPUT % TRANSFORM + BODY)
    assert quantize("deploy.prototxt", "pictures", "c") == 0
    assert blobs_of("a/deploy.caffemodel") == blobs_of("b/deploy.caffemodel") == blobs_of("c/deploy.caffemodel")


def test_grouped_deconvolutions_are_folded_rightly(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert quantize("deploy.prototxt", "pictures", "a") == 0
    assert "'up' is a deconvolution in 4 groups" in capfd.readouterr().err
    before, after = load_caffemodel("net.caffemodel"), load_caffemodel("a/quantize_train_test.caffemodel")
    factors = 1 / np.sqrt(np.asarray(before["up_bn"][1]) + 1e-5)
    wanted = np.asarray(before["up"][0]) * factors.reshape(4, 1, 1, 1)
    np.testing.assert_allclose(np.asarray(after["up"][0]), wanted, rtol=1e-6)


def test_settings(folder: Path) -> None:
    more = ["--method", "overflow", "--data-bit", "12", "--weights-bit", "6", "--ignore-layers", "fc", "--info"]
    assert quantize("deploy.prototxt", "pictures", "a", *more) == 0
    layers = {layer.name: layer for layer in read_net("a/quantize_train_test.prototxt").layer}
    assert layers["fc"].type == "InnerProduct"
    assert layers["conv"].fixed_param.bit_width == 6
    assert layers["conv_fixed"].fixed_param.bit_width == 12
    assert layers["conv_fixed"].fixed_param.fixed_method == pb.FixedParameter.OVER_FLOW
    assert Path("a/quantize_info.txt").read_text().splitlines()[0].startswith("0 data ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["deploy.prototxt", "net.caffemodel", "nothing.txt", "out"], "nothing.txt"),
        (["deploy.prototxt", "net.caffemodel", "broken.txt", "out"], "broken.txt:2: no such file: pictures/77.png"),
        (["deploy.prototxt", "net.caffemodel", "empty", "out"], "empty holds no pictures (.png .jpg"),
        (["deploy.prototxt", "net.caffemodel", "pictures", "out", "--method", "2"], "expected diffs or overflow"),
        (["deploy.prototxt", "net.caffemodel", "pictures", "out", "--data-bit", "0"], "0 bits; expected 1 to 32"),
        (["vector.prototxt", "net.caffemodel", "pictures", "out"], "one input of 1 or 3 channels"),
    ],
)
def test_refused(words: list[str], message: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("broken.txt").write_text("pictures/0.png 0\npictures/77.png 0\n")
    Path("empty").mkdir()
    Path("vector.prototxt").write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [1, 7] } } }'
        'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { num_output: 2 } }'
    )
    assert main(["quantize", *words]) == 2
    assert message in " ".join(capfd.readouterr().err.split())


def test_the_result_is_scored_like_the_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_examples()
    assert main(["quantize", "segment.prototxt", "segment.caffemodel", "pairs.txt", "out"]) == 0
    from caffecompat import evaluate_segmentation

    net = [f"out/quantize_train_test.{end}" for end in ("prototxt", "caffemodel")]
    assert evaluate_segmentation(net[0], net[1], "pairs.txt").miou() == 1.0


@pytest.mark.parametrize(
    ("name", "data", "rows"),
    [
        ("segment", "pairs.txt", ["class 2", "mIoU", "pixel accuracy"]),
        ("deploy", "list.txt", ["class 1", "top-1", "top-5"]),
        ("detect", "boxes.txt", ["class 1", "mAP, 11point", "mAP, Integral"]),
    ],
)
def test_report(
    name: str,
    data: str,
    rows: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each task is found by the net and the labels; these nets lose nothing in fixed point."""
    monkeypatch.chdir(tmp_path)
    write_examples()
    weights = "net" if name == "deploy" else name
    assert main(["quantize", f"{name}.prototxt", f"{weights}.caffemodel", data, "out", "--report", data]) == 0
    lines = capsys.readouterr().out.splitlines()
    for row in rows:
        assert next(line for line in lines if line.startswith(row)).split()[-3:] == ["1.0000", "1.0000", "+0.0000"]
    assert any(line.startswith("layer ") and "saturated" in line for line in lines)
    assert Path("out/layers.png").stat().st_size > 1000


def test_the_report_shows_what_few_bits_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pixels whose channels differ by less than a step are taken for the first class."""
    monkeypatch.chdir(tmp_path)
    write_examples()
    labels = np.arange(64).reshape(8, 8).astype(np.uint8) % 3
    cv2.imwrite("scene.png", 100 + np.eye(3, dtype=np.uint8)[labels] * 20)
    Path("names.txt").write_text("road\ncar\nsky\n")
    more = ["--data-bit", "3", "--report", "pairs.txt", "--task", "segmentation", "--classes", "names.txt"]
    assert main(["quantize", "segment.prototxt", "segment.caffemodel", "pairs.txt", "out", *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    share = (labels == 0).mean()
    words = {line.split()[0]: line.split()[-3:] for line in lines if line}
    assert words["road"] == ["1.0000", f"{share:.4f}", f"{share - 1:+.4f}"]
    assert words["car"] == ["1.0000", "0.0000", "-1.0000"]
    assert words["mIoU"] == ["1.0000", f"{share / 3:.4f}", f"{share / 3 - 1:+.4f}"]
    written = json.loads(Path("out/report.json").read_text())
    assert {row["score"]: row["quantized"] for row in written["scores"]}["mIoU"] == pytest.approx(share / 3)
    assert {"layer", "bits", "position", "saturated"} <= set(written["layers"][0])


def test_flags_of_the_report_need_it(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert quantize("deploy.prototxt", "pictures", "a", "--task", "detection") == 2
    assert quantize("deploy.prototxt", "pictures", "a", "--report", "random.txt", "--task", "pose") == 2
    text = capfd.readouterr().err
    assert "--task is for --report" in text
    assert "--task pose: expected segmentation, classification, detection" in text


def test_a_net_of_nan_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    blobs = {name: [np.array(blob) for blob in own] for name, own in load_caffemodel("net.caffemodel").items()}
    blobs["up"][1][2] = np.nan
    save_caffemodel("net.caffemodel", read_net("deploy.prototxt"), blobs)
    assert quantize("deploy.prototxt", "pictures", "out") == 2
    assert "blob 'up' holds NaN or infinity in batch 0 of the calibration" in capfd.readouterr().err
    assert not Path("out/deploy.caffemodel").exists()


@pytest.mark.parametrize("kind", ["raw", "png"])
def test_databases_of_other_sizes_are_resized_like_lists(kind: str, folder: Path) -> None:
    rng = np.random.default_rng(5)
    for number in range(3):
        cv2.imwrite(f"pictures/{number}.png", rng.integers(0, 256, (20 + 4 * number, 30, 3), np.uint8))
    Path("large.txt").write_text("".join(f"pictures/{number}.png 0\n" for number in range(3)))
    assert main(["lmdb", "build", "large.txt", "base", "--encode", kind]) == 0
    assert quantize("deploy.prototxt", "base", "a") == 0
    assert quantize("deploy.prototxt", "large.txt", "b") == 0
    assert blobs_of("a/quantize_train_test.caffemodel") == blobs_of("b/quantize_train_test.caffemodel")


def test_vai_q_caffes_commands_share_their_flags(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As gflags' are in the original: a line pasted from one command to another works, and says what counts not."""
    net = ["-model", "train_val.prototxt", "-weights", "net.caffemodel", "-output_dir", "q", "-calib_iter", "2"]
    assert main(["vai_q_caffe", "quantize", *net, "--keep_fixed_neuron"]) == 0
    assert "without effect" not in capfd.readouterr().err
    fixed = ["-model", "q/quantize_train_test.prototxt", "-weights", "q/quantize_train_test.caffemodel"]
    more = ["-gpu", "0", "-data_bit", "8", "-auto_test", "-calib_iter", "2"]
    assert main(["vai_q_caffe", "deploy", *fixed, "-output_dir", "d", *more]) == 0
    assert "deploy: -data_bit, -calib_iter, -gpu, -auto_test: without effect" in capfd.readouterr().err
    assert Path("d/deploy.caffemodel").read_bytes() == Path("q/deploy.caffemodel").read_bytes()
    assert main(["vai_q_caffe", "check", "-model", "train_val.prototxt", "-weights", "net.caffemodel"]) == 0
    assert "check: -weights: without effect" in capfd.readouterr().err
