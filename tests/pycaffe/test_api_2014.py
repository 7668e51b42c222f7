"""Names of pycaffe's first year fail with the form that took their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat import pycaffe as caffe

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }'


@pytest.fixture
def net(tmp_path: Path) -> caffe.Net:
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT)
    return caffe.Net(str(path), caffe.TEST)


@pytest.mark.parametrize(("name", "phase"), [("set_phase_test", "caffe.TEST"), ("set_phase_train", "caffe.TRAIN")])
def test_phases(name: str, phase: str, net: caffe.Net) -> None:
    for owner in (caffe, net):
        with pytest.raises(AttributeError, match=rf"{name}.*caffe\.Net\(model, weights, {phase}\)"):
            getattr(owner, name)()


@pytest.mark.parametrize("name", ["set_mode_gpu", "set_mode_cpu", "set_device"])
def test_modes_of_a_net(name: str, net: caffe.Net) -> None:
    with pytest.raises(AttributeError, match=rf"caffe\.{name}\("):
        getattr(net, name)()


@pytest.mark.parametrize("name", ["set_mean", "set_raw_scale", "set_input_scale", "set_channel_swap", "preprocess"])
def test_preparing_pictures(name: str, net: caffe.Net) -> None:
    with pytest.raises(AttributeError, match=rf"caffe\.io\.Transformer.*{name}"):
        getattr(net, name)("data", 1)
    assert hasattr(caffe.io.Transformer, name)


def test_other_names_are_just_missing(net: caffe.Net) -> None:
    for owner in (caffe, net):
        with pytest.raises(AttributeError) as found:
            owner.no_such_thing  # noqa: B018
        assert str(found.value).endswith("has no attribute 'no_such_thing'")


def test_a_net_of_two_files(tmp_path: Path, net: caffe.Net) -> None:
    with pytest.raises(TypeError, match=r"caffe\.Net\(model, weights, caffe\.TEST\)"):
        caffe.Net(str(tmp_path / "net.prototxt"), "net.caffemodel")
