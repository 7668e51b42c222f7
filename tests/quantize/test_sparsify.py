"""Nets thinned to a target, against numpy and numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from caffecompat import CaffeCompatError, load_caffemodel, read_net, save_caffemodel, sparsify, sparsity_curve
from caffecompat.quantize.sparsify import Thinner, open_for_thinning
from caffecompat.schema import open_net

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [2, 32, 5, 5] } } }
layer { name: "wide" type: "Convolution" bottom: "data" top: "wide" param { name: "w" }
  convolution_param { num_output: 32 kernel_size: 3 } }
layer { name: "half" type: "Convolution" bottom: "wide" top: "half" convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "fc" type: "InnerProduct" bottom: "half" top: "fc" inner_product_param { num_output: 10 } }
"""
WIDE, HALF = 32 * 32 * 9, 8 * 32 * 9


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[np.ndarray]]:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    rng = np.random.default_rng(1)
    shapes = {"wide": [(32, 32, 3, 3), (32,)], "half": [(8, 32, 3, 3), (8,)], "fc": [(10, 8), (10,)]}
    blobs = {name: [rng.standard_normal(shape).astype("f4") for shape in own] for name, own in shapes.items()}
    blobs["wide"][0] *= np.arange(1, 33, dtype="f4")[:, None, None, None]  # channels of unlike sizes
    save_caffemodel("net.caffemodel", read_net("net.prototxt"), blobs)
    return blobs


def thinned(weight: np.ndarray, count: int) -> np.ndarray:
    """A row without its `count` smallest magnitudes."""
    result = weight.copy()
    result.reshape(-1)[np.argsort(np.abs(weight), axis=None)[:count]] = 0
    return result


def test_a_threshold_a_layer(weights: dict[str, list[np.ndarray]]) -> None:
    done = sparsify("net.prototxt", "net.caffemodel", "out.caffemodel", target=0.4, mode="layer")
    # f of the large layer and f / 2 of the other make 40 %: f (WIDE + HALF / 2) = 0.4 (WIDE + HALF).
    share = 0.4 * (WIDE + HALF) / (WIDE + HALF / 2)
    assert [layer.limit for layer in done.layers] == [
        pytest.approx(share, rel=1e-3),
        pytest.approx(share / 2, rel=1e-3),
        None,
    ]
    assert done.reached
    assert done.weights == WIDE + HALF
    assert done.zeros == pytest.approx(0.4 * (WIDE + HALF), abs=2)
    stored = load_caffemodel("out.caffemodel")
    for layer in done.layers[:2]:
        assert np.array_equal(stored[layer.name][0], thinned(weights[layer.name][0], layer.zeros))
    assert np.array_equal(stored["fc"][0], weights["fc"][0])
    assert all(np.array_equal(stored[name][1], weights[name][1]) for name in weights)


def test_a_threshold_a_channel(weights: dict[str, list[np.ndarray]]) -> None:
    done = sparsify("net.prototxt", "net.caffemodel", "out.caffemodel", target=0.4)
    stored = load_caffemodel("out.caffemodel")
    for layer in done.layers[:2]:
        each = layer.zeros // layer.outputs
        wanted = [thinned(channel, each) for channel in weights[layer.name][0]]
        assert np.array_equal(stored[layer.name][0], wanted)
        limits = [np.abs(channel[channel != 0]).min() for channel in wanted]
        assert layer.thresholds == (pytest.approx(min(limits)), pytest.approx(max(limits)))
    # One weight less of each channel would not do.
    assert done.zeros >= 0.4 * done.weights > done.zeros - 32


def test_effective_macs(weights: dict[str, list[np.ndarray]]) -> None:
    done = sparsify("net.prototxt", "net.caffemodel", target=0.4)
    wide, half, fc = done.layers
    assert (wide.macs, half.macs, fc.macs) == (WIDE * 9, HALF * 1, 80)  # tops of 3x3, 1x1
    assert wide.effective_macs == pytest.approx((WIDE - wide.zeros) * 9)
    assert done.effective_macs == pytest.approx((WIDE - wide.zeros) * 9 + HALF - half.zeros + 80)
    assert (done.macs, done.effective_macs_before) == (WIDE * 9 + HALF + 80,) * 2


def test_limits_and_layers_by_name(weights: dict[str, list[np.ndarray]]) -> None:
    limits = {"*": 0.9, "wide": 0.25, "half": 0}
    done = sparsify("net.prototxt", "net.caffemodel", target=0.2, limits=limits)
    wide, half, fc = done.layers
    assert (wide.limit, wide.share) == (pytest.approx(0.25), 0.25)
    assert (half.limit, half.share) == (None, 0)
    assert fc.limit is not None
    assert (wide.zeros, half.zeros) == (WIDE // 4, 0)
    assert done.weights == WIDE + HALF + 80  # named layers count
    far = sparsify("net.prototxt", "net.caffemodel", target=0.9, limits=limits)
    assert not far.reached
    assert (far.layers[0].zeros, far.layers[2].zeros) == (WIDE // 4, 70)  # 0.9 of 8 weights an output are 7


def test_largest_thresholds(weights: dict[str, list[np.ndarray]]) -> None:
    done = sparsify("net.prototxt", "net.caffemodel", "out.caffemodel", target=0.7, max_ratio=0.2, max_value=2.5)
    assert not done.reached
    stored = load_caffemodel("out.caffemodel")["wide"][0].reshape(32, -1)
    plain = weights["wide"][0].reshape(32, -1)
    bounds = np.minimum(np.abs(plain).max(1) * np.float32(0.2), 2.5)[:, None]
    assert np.array_equal(stored == 0, np.abs(plain) < bounds)


def test_zeros_that_are_there_count(weights: dict[str, list[np.ndarray]]) -> None:
    sparsify("net.prototxt", "net.caffemodel", "a.caffemodel", target=0.5)
    again = sparsify("net.prototxt", "a.caffemodel", "b.caffemodel", target=0.3)
    assert again.zeros == again.zeros_before == sparsify("net.prototxt", "a.caffemodel").zeros
    more = sparsify("net.prototxt", "a.caffemodel", target=0.6)
    assert more.zeros == sparsify("net.prototxt", "net.caffemodel", target=0.6).zeros


def test_one_net_thinned_several_times(weights: dict[str, list[np.ndarray]]) -> None:
    thinner = Thinner(open_for_thinning(open_net("net.prototxt"), "net.caffemodel"))
    thinner.thin(0.8, "layer")
    once = thinner.thin(0.3, "channel")
    assert once == sparsify("net.prototxt", "net.caffemodel", target=0.3)


def test_shared_weights_are_thinned_once(weights: dict[str, list[np.ndarray]]) -> None:
    Path("shared.prototxt").write_text(
        NET + 'layer { name: "twin" type: "Convolution" bottom: "data" top: "twin" param { name: "w" } '
        "convolution_param { num_output: 32 kernel_size: 3 bias_term: false } }"
    )
    done = sparsify("shared.prototxt", "net.caffemodel", "out.caffemodel", target=0.5)
    assert [layer.name for layer in done.layers] == ["wide", "half", "fc"]
    stored = load_caffemodel("out.caffemodel")
    assert np.array_equal(stored["wide"][0], stored["twin"][0])
    # Both compute with them, and either name limits them.
    assert (done.layers[0].macs, done.layers[0].shared_with) == (2 * WIDE * 9, ["twin"])
    assert sum(layer.macs for layer in done.layers) == done.macs
    assert sum(layer.effective_macs for layer in done.layers) == pytest.approx(done.effective_macs)
    kept = sparsify("shared.prototxt", "net.caffemodel", target=0.5, limits={"*": 0.9, "twin": 0.25})
    assert kept.layers[0].zeros == WIDE // 4


@pytest.mark.parametrize("mode", ["layer", "channel"])
def test_the_largest_weight_stays(weights: dict[str, list[np.ndarray]], mode: str) -> None:
    # The one layer that is thinned would have to be all zeros, as the other may lose half of that alone.
    done = sparsify("net.prototxt", "net.caffemodel", "out.caffemodel", target=0.99, mode=mode)
    assert not done.reached
    json.dumps(done.as_dict(), allow_nan=False)
    stored = load_caffemodel("out.caffemodel")["wide"][0].reshape(32, -1)
    plain = weights["wide"][0].reshape(32, -1)
    rows = (stored, plain) if mode == "channel" else (stored.reshape(1, -1), plain.reshape(1, -1))
    for row, before in zip(*rows, strict=True):
        assert np.flatnonzero(row).tolist() == [np.abs(before).argmax()]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(weights: dict[str, list[np.ndarray]], value: float) -> None:
    weights["wide"][0][3, 2, 1, 0] = value
    save_caffemodel("net.caffemodel", read_net("net.prototxt"), weights)
    with pytest.raises(CaffeCompatError, match="wide: 1 of 9216 weights are NaN or infinite"):
        sparsify("net.prototxt", "net.caffemodel", "out.caffemodel", target=0.5)
    assert not Path("out.caffemodel").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": 0.0}, "between 0 and 1"),
        ({"target": 1.0}, "between 0 and 1"),
        ({"target": "0.5"}, "target '0.5': expected a share"),
        ({"target": np.nan}, "target nan: expected a share"),
        ({"target": 0.5, "limits": [("wide", 0.5)]}, "expected a dict"),
        ({"target": 0.5, "limits": {"wide": None}}, "limit wide: None: expected a share"),
        ({"target": 0.5, "limits": {5: 0.5}}, "expected a dict"),
        ({"target": 0.5, "max_ratio": 0}, "max_ratio 0: expected a number above 0"),
        ({"target": 0.5, "max_value": -0.1}, "max_value -0.1: expected a number above 0"),
        ({"target": 0.5, "mode": "row"}, "expected layer or channel"),
        ({"target": 0.5, "limits": {"wde": 0.5}}, "did you mean wide?"),
        ({"target": 0.5, "limits": {"wide": 1.5}}, "from 0 to below 1"),
        ({"target": 0.5, "limits": {"*": 0}}, "no layer is thinned"),
        ({"out_weights": "x.caffemodel"}, "needs a target"),
        ({"target": 0.5, "out_weights": "net.caffemodel"}, "net.caffemodel"),
    ],
)
def test_refused(weights: dict[str, list[np.ndarray]], settings: dict[str, object], message: str) -> None:
    with pytest.raises(CaffeCompatError, match=message):
        sparsify("net.prototxt", "net.caffemodel", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": 0.5}, "targets 0.5.*expected a list"),
        ({"targets": [0.5, 1]}, "expected a share of zeros"),
        ({"modes": "layer"}, "modes 'layer': expected a list"),
        ({"modes": ["row"]}, "expected layer or channel"),
        ({"names": "ab"}, "names 'ab': expected a list"),
    ],
)
def test_curves_that_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(CaffeCompatError, match=message):  # before anything is read
        sparsity_curve("none.prototxt", "none.caffemodel", "none.txt", **settings)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
def test_transposed_weights_take_no_warning_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET.replace("num_output: 10", "num_output: 10 transpose: true"))
    shapes = {"wide": [(32, 32, 3, 3), (32,)], "half": [(8, 32, 3, 3), (8,)], "fc": [(8, 10), (10,)]}
    rng = np.random.default_rng(0)
    blobs = {name: [rng.standard_normal(shape).astype("f4") for shape in own] for name, own in shapes.items()}
    save_caffemodel("net.caffemodel", read_net("net.prototxt"), blobs)
    limits = {"*": 0, "fc": 0.9}
    done = sparsify("net.prototxt", "net.caffemodel", "out.caffemodel", target=0.001, limits=limits)
    thin, each = load_caffemodel("out.caffemodel")["fc"][0], done.layers[2].zeros // 10
    assert each > 0
    assert np.array_equal(thin.T, [thinned(channel, each) for channel in blobs["fc"][0].T])
