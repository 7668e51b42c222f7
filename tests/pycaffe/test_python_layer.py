"""Python layers through pycaffe's Net, written as BVLC's examples write them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from tests.layers.python_loss import EUCLIDEAN, IMPORTS

LAYERS = '''
class TimesTen(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = 10 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 10 * top[0].diff


class Times(TimesTen):
    def setup(self, bottom, top):
        try:
            self.value = float(self.param_str)
        except ValueError:
            raise ValueError("param_str must be a number")

    def forward(self, bottom, top):
        top[0].data[...] = self.value * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = self.value * top[0].diff


class Refuses(TimesTen):
    def setup(self, bottom, top):
        raise RuntimeError("not today")


class Holds(TimesTen):
    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[0] = 0

    def forward(self, bottom, top):
        pass

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[0] = 1


class TellsPhase(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape()

    def forward(self, bottom, top):
        top[0].data[()] = self.phase


class Rows(caffe.Layer):
    """A data layer: counts upwards; top 1 is the label."""

    def setup(self, bottom, top):
        if len(bottom):
            raise Exception("a data layer takes no bottoms")
        params = eval(self.param_str)
        self.batch, self.width, self.at = params["batch"], params["width"], 0

    def reshape(self, bottom, top):
        top[0].reshape(self.batch, self.width)
        top[1].reshape(self.batch)

    def forward(self, bottom, top):
        for row in range(self.batch):
            top[0].data[row, ...] = self.at
            top[1].data[row] = self.at % 2
            self.at += 1

    def backward(self, top, propagate_down, bottom):
        pass
'''


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "user_layers.py").write_text(IMPORTS + LAYERS + EUCLIDEAN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("user_layers", None)


def python(name: str, kind: str, bottom: str, top: str, param: str = "", more: str = "") -> str:
    blobs = "".join(f' bottom: "{blob}"' for blob in bottom.split()) + "".join(f' top: "{t}"' for t in top.split())
    return (
        f'layer {{ name: "{name}" type: "Python"{blobs} {more}\n'
        f'python_param {{ module: "user_layers" layer: "{kind}" param_str: "{param}" }} }}\n'
    )


def make(text: str, phase: int = caffe.TRAIN) -> caffe.Net:
    Path("net.prototxt").write_text("force_backward: true\n" + text)
    return caffe.Net("net.prototxt", phase)


INPUT = 'input: "data" input_shape { dim: 10 dim: 9 dim: 8 }\n'
CHAIN = INPUT + python("one", "TimesTen", "data", "one") + python("two", "TimesTen", "one", "two")
CHAIN += python("three", "Times", "two", "three", "2.5")


def test_forward_and_backward_without_it() -> None:
    net = make(CHAIN, caffe.TEST)
    net.blobs["three"].diff[...] = 7
    net.backward()
    assert (net.blobs["data"].diff == 7 * 250).all()
    net.blobs["data"].data[...] = 8
    net.forward()
    assert (net.blobs["three"].data == 8 * 250).all()


def test_net_takes_the_shape_of_its_input() -> None:
    net = make(CHAIN, caffe.TEST)
    net.blobs["data"].reshape(4, 4, 4, 4)
    net.forward()
    assert all(blob.data.shape == (4, 4, 4, 4) for blob in net.blobs.values())


def test_errors_of_the_users_code_come_through() -> None:
    with pytest.raises(RuntimeError, match="not today"):
        make(INPUT + python("bad", "Refuses", "data", "out"))
    with pytest.raises(ValueError, match="must be a number"):
        make(INPUT + python("bad", "Times", "data", "out", "ten"))


def test_parameters_of_a_python_layer() -> None:
    net = make(INPUT + python("layer", "Holds", "data", "top"))
    net.forward()
    net.backward()
    blob = net.layers[list(net._layer_names).index("layer")].blobs[0]
    assert (blob.data[0], blob.diff[0]) == (0, 1)
    blob.data[0] += blob.diff[0]
    net.save("holds.caffemodel")
    blob.data[0] = -1
    net.copy_from("holds.caffemodel")
    assert blob.data[0] == 1
    other = caffe.Net("net.prototxt", caffe.TRAIN)
    other.share_with(net)
    assert other.params["layer"][0].data[0] == 1


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_phase(phase: int) -> None:
    assert make(python("layer", "TellsPhase", "", "phase"), phase).forward()["phase"] == phase


def test_the_users_object_stands_among_the_layers() -> None:
    net = make(python("rows", "Rows", "", "data label", "{'batch': 3, 'width': 2}"))
    assert isinstance(net.layer_dict["rows"], caffe.Layer) and type(net.layer_dict["rows"]).__name__ == "Rows"
    assert net.layer_dict["rows"].type == "Python"


def test_data_layer() -> None:
    net = make(python("rows", "Rows", "", "data label", "{'batch': 3, 'width': 2}"))
    assert net.blobs["data"].shape == (3, 2) and net.inputs == []
    net.forward()
    assert net.forward()["label"].tolist() == [1, 0, 1]
    assert net.blobs["data"].data[:, 0].tolist() == [3, 4, 5]


def test_loss_layer_trains() -> None:
    """A linear fit: the distance in Python drives the weights of an inner product to their targets."""
    text = (
        python("rows", "Rows", "", "data label", "{'batch': 4, 'width': 2}")
        + 'layer { name: "dummy" type: "DummyData" top: "x" top: "y" dummy_data_param { shape { dim: 8 dim: 3 }\n'
        + 'shape { dim: 8 dim: 2 } data_filler { type: "gaussian" std: 1 } } }\n'
        + 'layer { name: "ipx" type: "InnerProduct" bottom: "x" top: "ipx" inner_product_param { num_output: 5\n'
        + 'weight_filler { type: "xavier" } } }\n'
        + 'layer { name: "ipy" type: "InnerProduct" bottom: "y" top: "ipy" inner_product_param { num_output: 5\n'
        + 'weight_filler { type: "xavier" } } }\n'
        + python("loss", "Euclidean", "ipx ipy", "loss", more="loss_weight: 1")
        + 'layer { name: "s" type: "Silence" bottom: "data" bottom: "label" }'
    )
    Path("net.prototxt").write_text(text)
    Path("solver.prototxt").write_text(
        "train_net: 'net.prototxt' base_lr: 0.1 lr_policy: 'fixed' momentum: 0.5 max_iter: 50 random_seed: 1\n"
        "snapshot_prefix: 'linreg'"
    )
    solver = caffe.SGDSolver("solver.prototxt")
    solver.step(1)
    first = float(solver.net.blobs["loss"].data[0])
    solver.step(60)
    assert float(solver.net.blobs["loss"].data[0]) < first / 20
    # The gradients are those of Caffe's own EuclideanLoss.
    own = text.replace('type: "Python" bottom: "ipx"', 'type: "EuclideanLoss" bottom: "ipx"')
    Path("own.prototxt").write_text(own)
    python_net, own_net = caffe.Net("net.prototxt", caffe.TRAIN), caffe.Net("own.prototxt", caffe.TRAIN)
    own_net.share_with(python_net)
    for net in (python_net, own_net):
        for blob in ("x", "y"):
            net.blobs[blob].data[...] = python_net.blobs[blob].data
        net.forward(start="ipx")
        net.clear_param_diffs()
        net.backward()
    assert float(own_net.blobs["loss"].data) == pytest.approx(float(python_net.blobs["loss"].data[0]), rel=1e-5)
    shared = np.shares_memory(own_net.params["ipx"][0].diff, python_net.params["ipx"][0].diff)
    assert shared or np.allclose(own_net.params["ipx"][0].diff, python_net.params["ipx"][0].diff, rtol=1e-4)
