"""What scripts write into blobs while a net runs, and between its passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import caffecompat.pycaffe as caffe

SOURCES = {
    "Input": "input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } }",
    "DummyData": "dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 } }",
}
SOURCE = 'force_backward: true layer { name: "in" type: "%s" top: "x" top: "label" %s }'
LAYERS = """
layer { name: "first" type: "InnerProduct" bottom: "x" top: "h"
  inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "relu" type: "ReLU" bottom: "h" top: "h" }
layer { name: "second" type: "InnerProduct" bottom: "h" top: "score"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
"""
NET = SOURCE % ("Input", SOURCES["Input"]) + LAYERS

Maker = Callable[..., caffe.Net]


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    def made(text: str = NET, phase: int = caffe.TEST) -> caffe.Net:
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        caffe.set_random_seed(0)
        net = caffe.Net(path, phase)
        net.blobs["x"].data[...] = np.random.default_rng(0).random(net.blobs["x"].shape)
        return net

    return made


def _gradient_of_scores(scores: np.ndarray, labels: list[int]) -> np.ndarray:
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    gradient = exponentials / exponentials.sum(axis=1, keepdims=True)
    gradient[np.arange(len(labels)), labels] -= 1
    return gradient / len(labels)


@pytest.mark.parametrize("occasion", ["after_forward", "before_forward"])
@pytest.mark.parametrize("held", [False, True])
def test_layers_read_what_callbacks_write(make: Maker, occasion: str, held: bool) -> None:
    net = make()
    array = net.blobs["h"].data if held else None
    when = net._layer_names.index("relu") + (occasion == "before_forward")

    def write(index: int) -> None:
        if index == when:
            (array if array is not None else net.blobs["h"].data)[...] = [[1, 2, 3, 4], [5, 6, 7, 8]]
            net.params["second"][1].data[...] = 10

    getattr(net, occasion)(write)
    net.forward()
    assert net.blobs["h"].data.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    want = net.blobs["h"].data @ net.params["second"][0].data.T + 10
    np.testing.assert_allclose(net.blobs["score"].data, want, rtol=1e-5, atol=1e-6)


def test_a_callback_that_only_looks_changes_nothing(make: Maker) -> None:
    net = make()
    alone = net.forward()["loss"].copy()
    net.before_forward(lambda index: [blob.data for blob in net.blobs.values()])
    assert net.forward()["loss"] == alone


def test_callbacks_of_a_solver(make: Maker, tmp_path: Path) -> None:
    make()
    path = tmp_path / "solver.prototxt"
    path.write_text(f'net: "{tmp_path}/net.prototxt" base_lr: 0.5 lr_policy: "fixed" snapshot_after_train: false')
    caffe.set_random_seed(0)
    solver = caffe.SGDSolver(path)
    net, when = solver.net, solver.net._layer_names.index("relu")
    net.after_forward(lambda index: net.blobs["h"].data.fill(2) if index == when else None)
    bias, weight = (net.params["second"][slot].data.copy() for slot in (1, 0))
    solver.step(1)
    step = _gradient_of_scores(np.full((2, 4), 2.0) @ weight.T + bias, [0, 0])
    np.testing.assert_allclose(
        weight - net.params["second"][0].data, 0.5 * step.T @ np.full((2, 4), 2.0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_labels_set_after_the_forward_pass_count(make: Maker, held: bool, source: str) -> None:
    """BVLC's softmax_loss_layer.cpp reads the labels in Backward_cpu."""
    net = make(SOURCE % (source, SOURCES[source]) + LAYERS)
    labels = net.blobs["label"].data if held else None
    net.forward()
    scores = net.blobs["score"].data.copy()
    (labels if labels is not None else net.blobs["label"].data)[...] = [3, 1]
    net.backward()
    np.testing.assert_allclose(net.blobs["score"].diff, _gradient_of_scores(scores, [3, 1]), rtol=1e-5, atol=1e-6)
    assert (net.blobs["score"].data == scores).all()


def test_gradients_of_weights_are_of_what_the_bottom_holds(make: Maker) -> None:
    net = make()
    net.forward()
    net.blobs["h"].data[...] = 2
    net.backward()
    want = net.blobs["score"].diff.T @ np.full((2, 4), 2.0)
    np.testing.assert_allclose(net.params["second"][0].diff, want, rtol=1e-5, atol=1e-6)


def test_layers_that_keep_what_forward_drew(make: Maker) -> None:
    """A mask of Dropout stays, a difference of EuclideanLoss as well."""
    head = 'force_backward: true layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 50 } } }'
    net = make(head + 'layer { name: "drop" type: "Dropout" bottom: "x" top: "d" }', caffe.TRAIN)
    net.forward()
    mask = net.blobs["d"].data != 0
    net.blobs["x"].data[...] += 1
    net.blobs["d"].diff[...] = 1
    net.backward()
    assert (net.blobs["x"].diff == 2 * mask).all()

    net = make(
        NET[: NET.index('layer { name: "loss"')].replace("dim: 2 }", "dim: 2 dim: 5 }")
        + """
        layer { name: "loss" type: "EuclideanLoss" bottom: "score" bottom: "label" top: "loss" }"""
    )
    net.forward()
    net.blobs["label"].data[...] = 100
    net.backward()
    np.testing.assert_allclose(net.blobs["score"].diff, net.blobs["score"].data / 2, rtol=1e-5, atol=1e-6)


def test_an_array_takes_no_others_place(make: Maker) -> None:
    net = make()
    for blob, name in ((net.blobs["x"], "data"), (net.blobs["x"], "diff"), (net.params["first"][0], "data")):
        with pytest.raises(AttributeError, match=rf"write into it: blob.{name}\[...\] = value"):
            setattr(blob, name, np.zeros(blob.shape))


def test_a_net_gets_another_name(make: Maker) -> None:
    """As py-faster-rcnn's tools/test_net.py gives it that of the weights."""
    net = make('name: "old"' + NET)
    assert net.name == "old"
    net.name = "vgg16"
    assert net.name == "vgg16"
