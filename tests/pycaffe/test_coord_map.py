"""coord_map: where pixels come from, and crops that follow from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from caffecompat.pycaffe import coord_map as cm
from caffecompat.pycaffe import layers as L
from caffecompat.pycaffe.net_spec import NetSpec


def base(kernel: Any = 3, stride: int = 1, pad: int = 0) -> NetSpec:
    """Convolution, pooling by 2 and a deconvolution that undoes it."""
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 1, 100, 100]))
    n.aux = L.Input(shape=dict(dim=[1, 1, 20, 20]))
    n.conv = L.Convolution(n.data, num_output=10, kernel_size=kernel, stride=stride, pad=pad)
    n.pool = L.Pooling(n.conv, pool=0, kernel_size=2, stride=2, pad=0)
    n.deconv = L.Deconvolution(n.pool, convolution_param=dict(num_output=10, kernel_size=4, stride=2, pad=0))
    return n


def test_conv_pool_deconv() -> None:
    n = base()
    axis, a, b = cm.coord_map_from_to(n.deconv, n.data)
    assert axis == 1 and (a == 1).all() and (b == 0).all()


def test_elementwise_layers_change_nothing() -> None:
    n = base()
    ref = cm.coord_map_from_to(n.deconv, n.data)
    n.passed = L.ReLU(n.deconv, in_place=True)
    assert cm.coord_map_from_to(n.passed, n.data) == ref
    assert cm.coord_map_from_to(n.passed, n.deconv) == (None, 1, 0)


def test_padding_and_kernels_move_the_origin() -> None:
    n = base()
    n.wide = L.Convolution(n.data, num_output=1, kernel_size=5, pad=1, dilation=2)
    _, a, b = cm.coord_map_from_to(n.data, n.wide)
    assert (a == 1).all() and (b == -3).all()  # a dilated 5 reaches 4 about its center, less the pad
    n.split = L.Convolution(n.data, convolution_param=dict(num_output=1, kernel_size=7, stride=2))
    _, a, b = cm.coord_map_from_to(n.split, n.data)
    assert (a == 2).all() and (b == 3).all()


def test_each_axis_has_its_own_numbers() -> None:
    for kernel in ([3, 5], [3, 5, 7]):
        n = NetSpec()
        n.data = L.Input(shape=dict(dim=[1, 3, *[50] * len(kernel)]))
        n.conv = L.Convolution(n.data, num_output=1, kernel_size=kernel, stride=[1] * len(kernel), pad=0)
        axis, a, b = cm.coord_map_from_to(n.conv, n.data)
        assert (axis, a.tolist(), b.tolist()) == (1, [1] * len(kernel), [(k - 1) / 2 for k in kernel])


def test_crop_of_crop() -> None:
    n = base()
    n.small = L.Crop(n.data, n.conv, offset=4)
    n.smaller = L.Crop(n.small, n.aux, crop_param=dict(axis=2, offset=2))
    axis, a, b = cm.coord_map_from_to(n.smaller, n.data)
    assert axis == 1 and a == 1 and (b == 6).all()


def test_the_second_bottom_of_crop_only_gives_a_size() -> None:
    n = base()
    n.cropped = L.Crop(n.aux, n.data)
    with pytest.raises(RuntimeError, match="connected by spatial layers"):
        cm.coord_map_from_to(n.cropped, n.data)


def test_crop_layer() -> None:
    n = base()
    n.up = L.Deconvolution(n.data, convolution_param=dict(num_output=1, kernel_size=5, stride=1))
    made = cm.crop(n.up, n.data)
    assert made.fn.type_name == "Crop"
    assert made.fn.params == {"crop_param": {"axis": 2, "offset": [2]}}
    n.score = made
    assert list(n.to_proto().layer[-1].bottom) == ["up", "data"]
    assert cm.crop(n.data, n.data).fn.params["crop_param"] == {"axis": 2, "offset": [0]}


def test_what_cannot_be_cropped() -> None:
    n = base()
    n.far = L.InnerProduct(n.data, num_output=10)
    with pytest.raises(RuntimeError):
        cm.coord_map_from_to(n.far, n.data)
    with pytest.raises(RuntimeError):
        cm.crop(n.data, n.aux)
    with pytest.raises(AssertionError, match="scale mismatch"):
        cm.crop(n.pool, n.data)
    with pytest.raises(AssertionError, match="negative offset"):
        cm.crop(n.conv, n.data)
    n.even = L.Deconvolution(n.data, convolution_param=dict(num_output=1, kernel_size=4))
    with pytest.raises(AssertionError, match="noninteger"):
        cm.crop(n.even, n.data)
    n.legacy = L.Convolution(n.data, num_output=1, kernel_h=3, kernel_w=5)
    with pytest.raises(AssertionError, match="kernel_h, kernel_w"):
        cm.crop(n.legacy, n.data)


def test_ways_along_different_axes() -> None:
    n = base()
    n.deep = L.Convolution(n.conv, num_output=1, kernel_size=3, axis=2)
    with pytest.raises(cm.AxisMismatchException):
        cm.coord_map_from_to(n.deep, n.data)


def test_maps_compose_and_invert() -> None:
    there = (1, np.array([0.5]), np.array([3.0]))
    axis, a, b = cm.compose(there, cm.inverse(there))
    assert (axis, a.tolist(), b.tolist()) == (1, [1], [0])


def test_the_offsets_of_fcn() -> None:
    """Fully convolutional VGG-16 with 100 pixels around the picture: offsets known from the published nets."""
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, 500, 500]))
    top = n.data
    for stage, convolutions in enumerate((2, 2, 3, 3, 3)):
        for _ in range(convolutions):
            top = L.ReLU(
                L.Convolution(top, kernel_size=3, num_output=1, pad=100 if top is n.data else 1), in_place=True
            )
        top = n[f"pool{stage + 1}"] = L.Pooling(top, kernel_size=2, stride=2)
    n.fc7 = L.Convolution(L.Dropout(L.Convolution(top, kernel_size=7, num_output=1), in_place=True), kernel_size=1)

    def up(top: Any, kernel: int, stride: int) -> Any:
        return L.Deconvolution(top, convolution_param=dict(num_output=1, kernel_size=kernel, stride=stride))

    def offset(crop: Any) -> list[int]:
        return crop.fn.params["crop_param"]["offset"]

    assert offset(cm.crop(up(n.fc7, 64, 32), n.data)) == [19]
    up2 = up(n.fc7, 4, 2)
    n.score4 = cm.crop(L.Convolution(n.pool4, kernel_size=1), up2)
    assert offset(n.score4) == [5]
    n.fuse4 = L.Eltwise(up2, n.score4)
    assert offset(cm.crop(up(n.fuse4, 32, 16), n.data)) == [27]
    up4 = up(n.fuse4, 4, 2)
    n.score3 = cm.crop(L.Convolution(n.pool3, kernel_size=1), up4)
    assert offset(n.score3) == [9]
    assert offset(cm.crop(up(L.Eltwise(up4, n.score3), 16, 8), n.data)) == [31]
