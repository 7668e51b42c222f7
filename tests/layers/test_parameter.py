"""Parameter: a blob that the net learns, as a top."""

import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer


def test_the_top_is_the_blob() -> None:
    layer = make_layer('type: "Parameter" parameter_param { shape { dim: 2 dim: 3 } }')
    assert [tuple(blob.shape) for blob in layer.blobs] == [(2, 3)] and not layer.blobs[0].any()
    layer.blobs[0].data.normal_()
    top = layer()
    torch.testing.assert_close(top, layer.blobs[0])
    top.square().sum().backward()
    torch.testing.assert_close(layer.blobs[0].grad, 2 * layer.blobs[0])


def test_working_in_place_on_the_top_leaves_the_blob_alone() -> None:
    layer = make_layer('type: "Parameter" parameter_param { shape { dim: 2 } }')
    layer.blobs[0].data.fill_(-1)
    torch.relu_(layer())
    assert layer.blobs[0].tolist() == [-1, -1]


def test_a_shape_without_axes_is_one_value() -> None:
    assert make_layer('type: "Parameter" parameter_param { shape { } }')().shape == ()


@pytest.mark.parametrize("shape", ["", "parameter_param { }", "parameter_param { shape { dim: 0 } }"])
def test_a_shape_must_be_given(shape: str) -> None:
    with pytest.raises(LayerError, match=r"parameter_param\.shape must give sizes"):
        make_layer(f'type: "Parameter" {shape}')
