"""`caffe threshold`: the threshold is the one that caffe-jacinto's scan in steps finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat import CaffeCompatError, load_caffemodel, read_net, save_caffemodel
from caffecompat.cli.main import main
from caffecompat.quantize.threshold import ThresholdSettings

CONV = """layer {{ name: "{0}" type: "Convolution" bottom: "data" top: "{0}"
  convolution_param {{ num_output: {1} kernel_size: {2} group: {3} }} }}
"""
DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 32, 4, 4] } } }\n'
LAYERS = {"few": (8, 3, 1), "many": (40, 3, 1), "point": (64, 1, 1), "depthwise": (32, 3, 32)}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(DATA + "".join(CONV.format(name, *sizes) for name, sizes in LAYERS.items()))
    rng = np.random.default_rng(2)
    blobs = {
        name: [(rng.standard_normal((out, 32 // group, kernel, kernel)) * 0.1).astype("f4"), np.ones(out, "f4")]
        for name, (out, kernel, group) in LAYERS.items()
    }
    save_caffemodel("net.caffemodel", read_net("net.prototxt"), blobs)
    return {name: own[0] for name, own in blobs.items()}


def scan(weight: np.ndarray, fraction: float, value_max: float, ratio: float, factor: float) -> float:
    """The fork's search: thresholds go up step by step while not too many weights are below."""
    magnitudes = np.abs(weight)
    largest, found = magnitudes.max(), 0.0
    for k in range(int(1 / factor) + 2):
        step = k * float(largest * np.float32(factor))
        if step >= min(value_max, largest * ratio) or (magnitudes <= step).mean() > fraction:
            break
        found = step
    return found


@pytest.mark.parametrize(
    ("low", "mid", "value_max", "ratio"),
    [(0.4, 0.8, 10.0, 1.0), (0.4, 0.8, 0.05, 1.0), (0.2, 0.9, 10.0, 0.2), (0.0, 1.0, 10.0, 1.0)],
)
def test_the_scan(weights: dict[str, np.ndarray], low: float, mid: float, value_max: float, ratio: float) -> None:
    flags = {"fraction_low": low, "fraction_mid": mid, "value_max": value_max, "value_maxratio": ratio}
    words = [f"--threshold_{name}={value}" for name, value in flags.items()]
    files = ["--model", "net.prototxt", "--gpu", "0,1", "--weights", "net.caffemodel", "--output", "out.caffemodel"]
    assert main(["threshold", *words, "--threshold_step_factor", "1e-3", *files]) == 0
    stored = load_caffemodel("out.caffemodel")
    for name, weight in weights.items():
        fraction = {"few": low, "many": mid, "point": mid}.get(name)
        threshold = -1 if fraction is None else scan(weight, fraction, value_max, ratio, 1e-3)
        assert np.array_equal(stored[name][0], np.where(np.abs(weight) <= threshold, 0, weight)), name
        assert np.array_equal(stored[name][1], np.ones(len(weight)))


def test_the_log(weights: dict[str, np.ndarray], capfd: pytest.CaptureFixture[str]) -> None:
    files = ["--model", "net.prototxt", "--weights", "net.caffemodel", "--output", "out.caffemodel"]
    assert main(["threshold", "--threshold_value_max", "1", "--threshold_value_maxratio", "1", *files]) == 0
    lines = [line.split("] ", 1)[-1] for line in capfd.readouterr().err.splitlines()]
    assert "many ni=32 no=40" in lines
    assert "depthwise ni=32 no=32" in lines
    assert next(line for line in lines if line.startswith("many Max")).endswith("ZeroPercentage=80")
    zeros = {name: float((np.abs(w) == 0).mean()) for name, w in weights.items()}
    assert not any(zeros.values())
    total = sum(map(np.size, weights.values()))
    expected = int(0.8 * weights["many"].size) + int(0.8 * weights["point"].size) + int(0.4 * weights["few"].size)
    assert lines[-2].startswith(f"Total Sparsity (zero_weights/count) =  ({expected}/{total}) ")


@pytest.mark.parametrize("settings", [{"fraction_low": 1.5}, {"fraction_mid": -0.1}, {"step_factor": 0.0}])
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(CaffeCompatError, match=f"threshold_{next(iter(settings))}"):
        ThresholdSettings(**settings)


def test_needs_its_files(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["threshold", "--model", "net.prototxt"]) == 2
    assert "needs --weights" in capfd.readouterr().err


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(weights: dict[str, np.ndarray], capsys, value: float) -> None:
    weights["many"][3, 2, 1, 0] = value
    save_caffemodel(
        "net.caffemodel", read_net("net.prototxt"), {name: [blob, blob[:, 0, 0, 0]] for name, blob in weights.items()}
    )
    words = ["threshold", "--model", "net.prototxt", "--weights", "net.caffemodel", "--output", "out.caffemodel"]
    assert main(words) == 2
    assert "layer many: 1 of 11520 weights are NaN or infinite" in capsys.readouterr().err
    assert not Path("out.caffemodel").exists()
