"""Fed blobs on their way to a device: bytes become floats there, and their values are looked at on the host."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from caffecompat.layers.host_values import host_values
from caffecompat.layers.layer import LabelError
from caffecompat.net.inputs import on_device
from caffecompat.schema import pb
from tests.net.nets import INPUT, LABEL, make_net


class _Pixels:
    """Bytes of two pictures, 5 x 4; the floats are (pixel - mean) * factor, or the CPU's affair."""

    def __init__(self, linear: tuple[np.ndarray, np.ndarray] | None) -> None:
        self.array = np.random.default_rng(1).integers(0, 256, (2, 5, 4, 3)).astype(np.uint8)
        self.linear = linear

    def normalize(self, out: np.ndarray) -> None:
        mean, factor = self.linear or (np.float32(1), np.float32(3))
        out[:] = (self.array.astype(np.float32) - mean) * factor


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "linear",
    [
        None,
        (np.zeros(1, np.float32), np.ones(1, np.float32)),
        (np.float32([103.9, 116.8, 123.7]), np.float32([0.017])),
        (np.float32([127.5]), np.float32([1 / 57.4, 1 / 57.1, 1 / 58.4])),
    ],
    ids=["by the CPU", "plain", "mean", "std"],
)
def test_bytes_become_the_floats_of_the_cpu(linear: tuple[np.ndarray, np.ndarray] | None, channels_last: bool) -> None:
    pixels = _Pixels(linear)
    expected = np.empty(pixels.array.shape, np.float32)
    pixels.normalize(expected)
    made = on_device(pixels, torch.empty(0), channels_last)
    assert made.dtype == torch.float32
    assert made.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    np.testing.assert_array_equal(made.numpy(), expected.transpose(0, 3, 1, 2))


def test_on_a_device_bytes_are_read_from_the_source() -> None:
    """The meta device stands for a GPU: it has shapes and no values."""
    made = on_device(_Pixels((np.zeros(1, np.float32), np.ones(1, np.float32))), torch.empty(0, device="meta"), True)
    assert made.is_meta
    assert made.shape == (2, 3, 5, 4)


LOSS = (
    'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 } }'
    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }'
)


def _pass(labels: list[float]) -> Tensor:
    """The loss of a net on a device without values."""
    net = make_net(INPUT + LABEL + LOSS, pb.TRAIN).to("meta")
    return net(np.zeros((2, 3, 6, 6), np.float32), np.float32(labels))["loss"]


def test_labels_are_checked_where_they_come_from() -> None:
    """Values of a device that are looked at would be an error here: the meta device has none."""
    assert _pass([0, 2]).is_meta
    with pytest.raises(LabelError, match=r"label 7 in 'label'.*batch item 1"):
        _pass([0, 7])


def test_host_values_last_as_long_as_the_blob() -> None:
    blob = on_device(np.float32([1, 2]), torch.empty(0, device="meta"), False)
    assert host_values(blob).tolist() == [1, 2]
    other = torch.zeros(2)
    assert host_values(other) is other
