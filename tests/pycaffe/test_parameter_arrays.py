"""What ``net.params[...][i].data`` and ``.diff`` are: arrays in C order over the parameter itself, as in BVLC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import caffecompat.pycaffe as caffe

FILLER = 'weight_filler { type: "gaussian" std: 1 }'
NET = f"""force_backward: true
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: [2, 4, 9, 9] }} }} }}
layer {{ name: "volume" type: "Input" top: "volume" input_param {{ shape {{ dim: [2, 4, 5, 6, 7] }} }} }}
layer {{ name: "row" type: "Input" top: "row" input_param {{ shape {{ dim: [2, 4, 9] }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" param {{ name: "w" }}
  convolution_param {{ num_output: 6 kernel_size: 3 {FILLER} }} }}
layer {{ name: "shared" type: "Convolution" bottom: "data" top: "shared" param {{ name: "w" }}
  convolution_param {{ num_output: 6 kernel_size: 3 pad: 2 {FILLER} }} }}
layer {{ name: "view" type: "Convolution" bottom: "data" top: "view" param {{ name: "w" share_mode: PERMISSIVE }}
  convolution_param {{ num_output: 54 kernel_size: 1 {FILLER} }} }}
layer {{ name: "pointwise" type: "Convolution" bottom: "data" top: "pointwise"
  convolution_param {{ num_output: 6 kernel_size: 1 {FILLER} }} }}
layer {{ name: "depthwise" type: "Convolution" bottom: "data" top: "depthwise"
  convolution_param {{ num_output: 4 group: 4 kernel_size: 3 {FILLER} }} }}
layer {{ name: "grouped" type: "Convolution" bottom: "data" top: "grouped"
  convolution_param {{ num_output: 6 group: 2 kernel_h: 1 kernel_w: 3 {FILLER} }} }}
layer {{ name: "up" type: "Deconvolution" bottom: "data" top: "up"
  convolution_param {{ num_output: 3 kernel_size: 4 stride: 2 {FILLER} }} }}
layer {{ name: "conv3" type: "Convolution" bottom: "volume" top: "conv3"
  convolution_param {{ num_output: 3 kernel_size: 2 {FILLER} }} }}
layer {{ name: "conv1" type: "Convolution" bottom: "row" top: "conv1"
  convolution_param {{ num_output: 3 kernel_size: 2 {FILLER} }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param {{ num_output: 3 {FILLER} }} }}
layer {{ name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }}
layer {{ name: "scale" type: "Scale" bottom: "data" top: "scale" scale_param {{ bias_term: true }} }}
"""


def _arrays(net: caffe.Net) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    for name, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            yield f"{name}[{index}].data", lambda blob=blob: blob.data
            yield f"{name}[{index}].diff", lambda blob=blob: blob.diff


def _check(net: caffe.Net) -> None:
    """Every array is in C order, and each of the ways to write through it is seen in the next one."""
    for name, array in _arrays(net):
        held, before = array(), array().copy()
        assert held.flags["C_CONTIGUOUS"] and held.strides == np.empty(held.shape, np.float32).strides, name
        held.reshape(-1)[0] = 1
        assert array().flat[0] == 1 and held.flat[0] == 1, name
        held.ravel()[-1] = 2
        held.view(np.uint8).flat[0] ^= 0
        assert array().flat[-1] == 2, name
        shaped = array()
        shaped.shape = (1, held.size)
        shaped += 1
        assert array().shape == before.shape and array().flat[-1] == 3, name
        array()[...] = before
        assert np.array_equal(held, before), name


@pytest.fixture
def net(tmp_path: Path) -> caffe.Net:
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return caffe.Net(str(path), caffe.TRAIN)


def _backward(net: caffe.Net) -> None:
    for name in net.inputs:
        net.blobs[name].data[...] = np.random.rand(*net.blobs[name].shape)
    net.forward()
    for name in net.outputs:
        net.blobs[name].diff[...] = np.random.rand(*net.blobs[name].shape)
    net.backward()


def test_arrays_are_live_and_in_c_order_whatever_was_done_before(net: caffe.Net, tmp_path: Path) -> None:
    _check(net)
    net.forward()
    _check(net)
    net.clear_param_diffs()
    _backward(net)
    assert all(array().any() for name, array in _arrays(net) if name.endswith("[0].diff") and name[0] not in "bs")
    _check(net)
    net.blobs["data"].reshape(1, 4, 9, 9)
    net.reshape()
    net.forward()
    _check(net)
    for name in ("w.caffemodel", "w.caffemodel.h5"):
        net.save(str(tmp_path / name))
        held = net.params["conv"][0].data
        held[...] = 0
        net.copy_from(str(tmp_path / name))
        assert held.any()
        _check(net)
    net._core.to("cpu")
    _check(net)


def test_gradients_of_passes_add_up_in_the_array_that_is_held(net: caffe.Net) -> None:
    held = net.params["conv"][0].diff
    np.random.seed(0)
    _backward(net)
    first = held.copy()
    np.random.seed(0)
    _backward(net)
    assert first.any()
    np.testing.assert_allclose(held, 2 * first, rtol=1e-5)


def test_sharers_see_one_memory_in_their_own_shapes(net: caffe.Net) -> None:
    weights = [net.params[name][0] for name in ("conv", "shared", "view")]
    weights[0].data[...] = np.arange(216).reshape(6, 4, 3, 3)
    assert weights[2].shape == (54, 4, 1, 1)
    for weight in weights:
        assert np.array_equal(weight.data.ravel(), np.arange(216))
    weights[2].diff.ravel()[:] = 5
    assert (weights[0].diff == 5).all()


def test_nets_that_share_see_one_memory(net: caffe.Net, tmp_path: Path) -> None:
    other = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    other.share_with(net)
    _check(other)
    other.params["conv"][0].data.reshape(6, -1)[2] = 7
    other.params["view"][0].data.ravel()[-1] = 8
    assert (net.params["conv"][0].data[2] == 7).all() and net.params["shared"][0].data[-1, -1, -1, -1] == 8
    net.blobs["data"].data[...] = 1
    assert np.allclose(net.forward()["conv"][0, 2, 0, 0] - net.params["conv"][1].data[2], 36 * 7)


def test_what_a_view_wrote_is_what_the_net_computes_with(net: caffe.Net) -> None:
    net.blobs["data"].data[...] = 1
    for name in ("conv", "pointwise", "depthwise", "grouped"):
        weight = net.params[name][0].data
        weight.reshape(len(weight), -1)[0] = 0
        weight.reshape(len(weight), -1)[1] = np.arange(weight[0].size)
    made = net.forward()
    for name in ("conv", "pointwise", "depthwise", "grouped"):
        size = net.params[name][0].data[0].size
        assert made[name][0, 0].any() == net.params[name][1].data[0].any()
        assert np.allclose(made[name][0, 1, 0, 0], size * (size - 1) / 2)


def test_a_solver_trains_what_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(
        'layer { name: "d" type: "DummyData" top: "x" top: "y" dummy_data_param { shape { dim: [2, 3, 6, 6] }'
        ' shape { dim: [2, 4, 4, 4] } data_filler { type: "gaussian" std: 1 } } }\n'
        'layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 kernel_size: 3'
        ' weight_filler { type: "gaussian" std: 1 } } }\n'
        'layer { name: "l" type: "EuclideanLoss" bottom: "c" bottom: "y" top: "l" }\n'
    )
    Path("solver.prototxt").write_text('net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" snapshot_prefix: "s"\n')
    solver = caffe.SGDSolver("solver.prototxt")
    weight, diff = solver.net.params["c"][0].data, solver.net.params["c"][0].diff
    before = weight.copy()
    solver.step(1)
    assert diff.any()
    np.testing.assert_allclose(weight, before - diff, atol=1e-6)  # the diff is the step that was subtracted
    _check(solver.net)
    weight.reshape(4, -1)[:] = 0
    solver.net.params["c"][0].diff.reshape(4, -1)[:] = -1
    solver.apply_update()
    np.testing.assert_allclose(weight, 0.1, atol=1e-6)
