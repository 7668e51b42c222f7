"""Noise of quantized layers against numbers computed with numpy."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat import quantize_net
from caffecompat.quantize.layer_noise import LayerNoise, decibels, layer_noise
from caffecompat.schema import NetDocument, parse_text, pb

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 4, 5] } }
  transform_param { scale: 0.01 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "mean" type: "Pooling" bottom: "pool" top: "mean" pooling_param { pool: AVE kernel_size: 2 } }
"""


def _to_grid(values: np.ndarray, position: int) -> np.ndarray:
    step = 2.0**-position
    return np.clip(np.floor(np.asarray(values, np.float64) / step + 0.5), -128, 127) * step


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, list[np.ndarray], list[LayerNoise]]:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (4, 5, 3), np.uint8)
    cv2.imwrite("a.png", picture)
    from caffecompat.formats import save_caffemodel

    net = parse_text(NET, pb.NetParameter())
    blobs = [rng.standard_normal((2, 3, 1, 1)).astype(np.float32), np.array([0.3, 4.0], np.float32)]
    save_caffemodel("net.caffemodel", net, {"conv": blobs})
    document = NetDocument.from_message(net)
    done = quantize_net(document, "net.caffemodel", ["a.png"], "out")
    neurons = {name: own for name, own in done.blobs.items() if name.endswith("_fixed")}
    neurons["pool_fixed"] = [neurons["pool_fixed"][0] + 2]  # so fine that large values saturate
    found = layer_noise(NetDocument.from_message(done.message), done.blobs | neurons, iterations=2)
    return picture.transpose(2, 0, 1) * np.float32(0.01), blobs, found


def test_against_numpy(layers: tuple[np.ndarray, list[np.ndarray], list[LayerNoise]]) -> None:
    data, (weights, bias), found = layers
    by_name = {one.layer: one for one in found}
    assert set(by_name) == {"data", "conv", "mean"}
    position = {name: one.position for name, one in by_name.items()}

    def pooled(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        y = np.maximum(np.einsum("oc,chw->ohw", w.reshape(2, 3), x) + b[:, None, None], 0)
        y = np.concatenate([y, np.full((2, 4, 1), -np.inf)], 2)
        return y.reshape(2, 2, 2, 3, 2).max((2, 4))

    def rounded(values: np.ndarray) -> np.ndarray:
        """Nearest at the position of the least squared difference of five; method DIFF_S."""
        scale = max(values.min() / -128.5, values.max() / 127.5)
        first = math.floor(np.log2(1 / scale))
        trials = [np.clip(np.round(values * 2.0**p), -128, 127) * 2.0**-p for p in range(first, first + 5)]
        return min(trials, key=lambda trial: ((values - trial) ** 2).sum())

    data_fixed = np.trunc(data.astype(np.float64) * 2.0 ** position["data"]) * 2.0 ** -position["data"]
    wanted = pooled(data, weights, bias)
    before = pooled(data_fixed, rounded(weights), rounded(bias))
    after = _to_grid(before, position["conv"])
    conv = by_name["conv"]
    assert conv.blob == "pool"
    assert conv.ratio == pytest.approx(decibels((wanted**2).sum(), ((wanted - after) ** 2).sum()), abs=0.01)
    assert conv.own == pytest.approx(decibels((before**2).sum(), ((before - after) ** 2).sum()), abs=0.01)
    cut = (before / 2.0**-conv.position >= 127.5).mean()
    assert cut > 0
    assert conv.saturated == pytest.approx(cut)
    noise = sum(((blob - rounded(blob)) ** 2).sum() for blob in (weights, bias))
    assert conv.weights == pytest.approx(decibels((weights**2).sum() + (bias**2).sum(), noise), abs=0.01)
    ratio = decibels((data.astype(np.float64) ** 2).sum(), ((data - data_fixed) ** 2).sum())
    assert by_name["data"].ratio == pytest.approx(ratio, abs=0.01)
    assert math.isnan(by_name["data"].weights)
    assert [one.ratio for one in found] == sorted(one.ratio for one in found)


def test_decibels() -> None:
    assert decibels(1.0, 0.0) == math.inf
    assert decibels(0.0, 1.0) == -math.inf
    assert math.isnan(decibels(0.0, 0.0))
