"""Nets that get their input in another size: shapes again, and the layer that cannot work on them is named."""

from __future__ import annotations

import pytest
import torch

from caffecompat.errors import CaffeCompatError
from caffecompat.net.interpreter import Interpreter
from tests.net.nets import layer, make_net

SMALL = (
    'layer { name: "small" type: "Pooling" bottom: "data" top: "small" pooling_param { kernel_size: 2 stride: 2 } }\n'
)
REFUSING = {
    "Pooling": layer("Pooling", "data", "top", "pooling_param { pool: AVE kernel_size: 7 }"),
    "Convolution": layer("Convolution", "data", "top", "convolution_param { num_output: 1 kernel_size: 3 hole: 4 }"),
    "Deconvolution": layer("Deconvolution", "data", "top", "convolution_param { num_output: 1 kernel_size: 2 pad: 2 }"),
    "Im2col": layer("Im2col", "data", "top", "convolution_param { kernel_size: 5 }"),
    "SPP": layer("SPP", "data", "top", "spp_param { pyramid_height: 4 }"),
    "InnerProduct": layer("InnerProduct", "data", "top", "inner_product_param { num_output: 2 }"),
    "Slice": layer("Slice", "data", "top", 'top: "rest" slice_param { axis: 2 slice_point: 6 }'),
    "Reshape": layer("Reshape", "data", "top", "reshape_param { shape { dim: [0, 16, -1] } }"),
    "Eltwise": SMALL + layer("Eltwise", "data", "top", 'bottom: "fixed"'),
    "Concat": SMALL + layer("Concat", "data", "top", 'bottom: "fixed"'),
    "Crop": layer("Crop", "data", "top", 'bottom: "fixed" crop_param { offset: 0 }'),
    "Reorg": layer("Reorg", "data", "top", "reorg_param { stride: 2 }"),
}
INPUTS = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 4, 16, 16] } } }
layer { name: "fixed" type: "Input" top: "fixed" input_param { shape { dim: [1, 4, 16, 16] } } }
"""


@pytest.mark.parametrize("kind", REFUSING)
def test_the_layer_that_cannot_work_is_named(kind: str) -> None:
    net = make_net(INPUTS + REFUSING[kind])
    before = dict(net.blob_shapes)
    with pytest.raises(CaffeCompatError) as caught:
        net.reshape({"data": (1, 4, 3, 3)})
    assert str(caught.value).startswith(f"layer 'top' ({kind}): "), str(caught.value)
    assert str(caught.value).count("layer '") == 1
    assert net.blob_shapes == before


@pytest.mark.parametrize("attached", [False, True])
def test_a_layer_that_refuses_values_is_named(attached: bool) -> None:
    """A mask that points outside of the plane, say; the message of the layer itself tells values alone."""
    net = make_net(INPUTS + layer("Upsample", "data", "top", 'bottom: "fixed"'))
    if attached:
        Interpreter(net).attach()
    batch = {"data": torch.zeros(1, 4, 16, 16), "fixed": torch.full((1, 4, 16, 16), 1024.0)}
    with pytest.raises(CaffeCompatError, match=r"^layer 'top' \(Upsample\): the mask points at place 1024"):
        net.forward({blob: batch[blob] for blob in net.fed})


def test_a_kernel_that_is_too_large_is_told_in_caffes_words() -> None:
    net = make_net(INPUTS + REFUSING["Pooling"])
    with pytest.raises(CaffeCompatError, match=r"no window of \(7, 7\) fits a bottom of shape \(1, 4, 6, 6\), pad"):
        net.reshape({"data": (1, 4, 6, 6)})


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("kind", ["Pooling", "Convolution", "InnerProduct", "Eltwise", "SPP"])
def test_a_batch_of_another_size_than_the_first_names_the_layer(kind: str, attached: bool) -> None:
    """Pictures of a list may differ; and scripts feed what they like."""
    net = make_net(INPUTS + REFUSING[kind])
    if attached:
        Interpreter(net).attach()
    batch = {"data": torch.zeros(1, 4, 3, 3), "fixed": torch.zeros(1, 4, 16, 16)}
    with pytest.raises(CaffeCompatError) as caught:
        net.forward({blob: batch[blob] for blob in net.fed})
    assert str(caught.value).startswith(f"layer 'top' ({kind}): "), str(caught.value)


def test_errors_that_are_not_about_shapes_stay_as_they_are() -> None:
    net = make_net(INPUTS + layer("ReLU", "data", "top"))
    net.layers[2].module.forward = failing  # type: ignore[union-attr,method-assign]
    with pytest.raises(RuntimeError, match="no memory"):
        net.forward({"data": torch.zeros(1, 4, 16, 16), "fixed": torch.zeros(1, 4, 16, 16)})


def failing(bottom: torch.Tensor) -> torch.Tensor:
    if bottom.is_meta:
        return bottom
    raise RuntimeError("no memory")
