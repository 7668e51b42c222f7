"""Wherever Python code gives a phase, numbers and names in any case mean the same, and others are errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import caffecompat.pycaffe as caffe
from caffecompat import CaffeCompatError, load_net
from caffecompat.data import make_source
from caffecompat.net import Net
from caffecompat.schema import parse_text, pb
from tests.net.nets import INPUT, layer

NET = (
    INPUT
    + layer("ReLU", "data", "r")
    + layer("TanH", "r", "only_train", "include { phase: TRAIN }")
    + layer("Power", "r", "only_test", "include { phase: TEST }")
)
DUMMY = 'name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 2 } }'


def _drawn(path: str, phase: Any) -> set[str]:
    net = parse_text(Path(path).read_text(), pb.NetParameter())
    text = caffe.draw.get_pydot_graph(net, "LR", phase=phase).to_string()
    return {name for name in ("only_train", "only_test") if name in text}


def _source(path: str, phase: Any) -> set[str]:
    source = make_source(parse_text(DUMMY, pb.LayerParameter()), phase)
    assert source.next()[0].shape == (2,)
    return set()


MAKERS: dict[str, Callable[[str, Any], Any]] = {
    "load_net": lambda path, phase: {name for name, _ in load_net(path, phase=phase).named_children()},
    "load_net by place": lambda path, phase: {name for name, _ in load_net(path, None, phase).named_children()},
    "Net": lambda path, phase: set(Net(path, phase, log=False).blob_shapes),
    "caffe.Net": lambda path, phase: set(caffe.Net(path, phase).blobs),
    "caffe.Net by name": lambda path, phase: set(caffe.Net(path, phase=phase).blobs),
    "draw": _drawn,
    "make_source": _source,
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "net.prototxt").write_text(NET)
    return str(tmp_path / "net.prototxt")


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_names_and_numbers_mean_the_same(path: str, make: Callable[[str, Any], set[str]]) -> None:
    for given in (0, "TRAIN", "train", "Train"):
        made = make(path, given)
        assert "only_test" not in made and ("only_train" in made or not made)
    for given in (1, "TEST", "test"):
        made = make(path, given)
        assert "only_train" not in made and ("only_test" in made or not made)


@pytest.mark.parametrize("make", [make for name, make in MAKERS.items() if name != "caffe.Net"])
@pytest.mark.parametrize("phase", ["trian", "", 2, -1, 0.5])
def test_no_phase_is_an_error(path: str, make: Callable[[str, Any], Any], phase: Any) -> None:
    with pytest.raises(CaffeCompatError, match="expected TRAIN"):
        make(path, phase)


def test_pycaffes_net_by_place(path: str, tmp_path: Path) -> None:
    weights = str(tmp_path / "w.caffemodel")
    caffe.Net(path, "test").save(weights)
    assert "only_test" in caffe.Net(path, weights, "test").blobs
    assert "only_train" in caffe.Net(path, "train", weights=weights).blobs
    assert "only_train" in caffe.Net(path, "Train", stages=["x"]).blobs
    for phase in (2, -1, 0.5):
        with pytest.raises(CaffeCompatError, match="expected TRAIN"):
            caffe.Net(path, phase)
    with pytest.raises(CaffeCompatError, match="phase 'tests': expected TRAIN or TEST"):
        caffe.Net(path, weights, "tests")
    with pytest.raises(TypeError, match="caffe"):
        caffe.Net(path, weights)
