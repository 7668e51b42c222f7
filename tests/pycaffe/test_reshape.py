"""Blob.reshape and Net.reshape: what stays, and shapes that cannot be, where the layer or the argument is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat import CaffeCompatError
from caffecompat import pycaffe as caffe

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 10 dim: 10 } } }'
LAYERS = {
    "Convolution": "convolution_param { num_output: 4 kernel_size: 3 }",
    "Deconvolution": "convolution_param { num_output: 3 kernel_size: 3 group: 3 }",
    "Scale": "scale_param { bias_term: true }",
    "Bias": "",
    "PReLU": "",
    "BatchNorm": "",
    "Normalize": "norm_param { across_spatial: false channel_shared: false }",
    "InnerProduct": "inner_product_param { num_output: 2 }",
    "Reshape": "reshape_param { shape { dim: 0 dim: 3 dim: 100 } }",
}


def make(tmp_path: Path, layer_type: str = "ReLU") -> caffe.Net:
    path = tmp_path / "net.prototxt"
    text = f'layer {{ name: "l" type: "{layer_type}" bottom: "data" top: "t" {LAYERS.get(layer_type, "")} }}'
    path.write_text(INPUT + text)
    return caffe.Net(str(path), caffe.TEST)


@pytest.mark.parametrize("layer_type", LAYERS)
def test_a_layer_made_for_other_channels(layer_type: str, tmp_path: Path) -> None:
    net = make(tmp_path, layer_type)
    net.blobs["data"].reshape(1, 4, 10, 10)
    with pytest.raises(CaffeCompatError) as found:
        net.reshape()
        net.forward()
    text = str(found.value)
    assert text.startswith(f"layer 'l' ({layer_type}): ") and "(1, 4, 10, 10)" in text
    for word in ("torch", "broadcast", "Invalid", "running_mean", "at index"):
        assert word not in text


@pytest.mark.parametrize("layer_type", ["Convolution", "Deconvolution"])
def test_a_layer_made_for_more_axes(layer_type: str, tmp_path: Path) -> None:
    net = make(tmp_path, layer_type)
    net.blobs["data"].reshape(1, 3, 10)
    with pytest.raises(CaffeCompatError, match=rf"layer 'l' \({layer_type}\): .*\(1, 3, 10\)"):
        net.reshape()


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (
            ((1, 3, 10, 10),),
            TypeError,
            r"one for each axis.*write reshape\(\*\(1, 3, 10, 10\)\)",
        ),
        ((np.array([1, 3, 4, 4]),), TypeError, r"write reshape\(\*"),
        ((1, 3, 10.0, 10), TypeError, r"whole numbers, one for each axis, not reshape\(1, 3, 10.0, 10\)"),
        ((1, "3"), TypeError, "whole numbers"),
        (("3",), TypeError, r"not reshape\('3'\)$"),
        ((1, 3, -1, 10), ValueError, "no axis has a negative size"),
    ],
)
def test_arguments_that_are_no_sizes(
    shape: tuple[object, ...], error: type[Exception], message: str, tmp_path: Path
) -> None:
    net = make(tmp_path)
    with pytest.raises(error, match=message):
        net.blobs["data"].reshape(*shape)
    assert net.blobs["data"].shape == (1, 3, 10, 10)


def test_numbers_of_numpy_are_sizes(tmp_path: Path) -> None:
    net = make(tmp_path)
    net.blobs["data"].reshape(*np.array([2, 3, 4, 5]))
    net.reshape()
    assert net.blobs["t"].shape == (2, 3, 4, 5)


@pytest.mark.parametrize("shape", [(2, 3), (4, 3, 1, 1), (3, 4), (12,)])
def test_what_was_written_stays_as_far_as_it_fits(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Caffe's blobs keep their memory unless they must grow (BVLC blob.cpp, Reshape)."""
    net = make(tmp_path)
    blob = net.blobs["data"]
    blob.reshape(4, 3)
    blob.data[...] = np.arange(12).reshape(4, 3)
    blob.diff[...] = -blob.data
    blob.reshape(*shape)
    want = np.arange(12)[: blob.count].reshape(shape)
    np.testing.assert_array_equal(blob.data, want)
    net.reshape()
    net.forward()
    np.testing.assert_array_equal(blob.data, want)
    np.testing.assert_array_equal(blob.diff, -want)
    blob.reshape(5, 3)
    assert not blob.data.any()
