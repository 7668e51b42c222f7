"""Naming the fork from Python scripts: set_fork, fork= and the environment."""

from __future__ import annotations

import pytest

import caffecompat.pycaffe as caffe
from caffecompat import CaffeCompatError

NET = """
layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }
"""
BLOBS = {"bvlc": [3, 3, 1], "xilinx": [3, 3, 3, 3, 1]}


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAFFECOMPAT_FORK", raising=False)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" snapshot_prefix: "s"'
    )
    yield "net.prototxt"
    caffe.set_fork(None)


def sizes(net: caffe.Net) -> list[int]:
    return [blob.data.size for blob in net.params["bn"]]


def test_set_fork_holds_until_it_is_taken_back(net):
    caffe.set_fork("Xilinx")
    assert sizes(caffe.Net(net, caffe.TEST)) == BLOBS["xilinx"]
    assert sizes(caffe.SGDSolver("solver.prototxt").net) == BLOBS["xilinx"]
    caffe.set_fork(None)
    assert sizes(caffe.Net(net, caffe.TEST)) == BLOBS["bvlc"]


def test_the_argument_wins(net):
    caffe.set_fork("xilinx")
    assert sizes(caffe.Net(net, caffe.TEST, fork="bvlc")) == BLOBS["bvlc"]


def test_the_environment_is_read_for_every_net(net, monkeypatch):
    monkeypatch.setenv("CAFFECOMPAT_FORK", "xilinx")
    assert sizes(caffe.Net(net, caffe.TEST)) == BLOBS["xilinx"]
    assert sizes(caffe.get_solver("solver.prototxt").net) == BLOBS["xilinx"]
    caffe.set_fork("bvlc")
    assert sizes(caffe.Net(net, caffe.TEST)) == BLOBS["bvlc"]


def test_wrong_names(net, monkeypatch):
    with pytest.raises(CaffeCompatError, match=r"caffe.set_fork: there is no fork 'jacint'; did you mean jacinto\?"):
        caffe.set_fork("jacint")
    monkeypatch.setenv("CAFFECOMPAT_FORK", "nobody")
    with pytest.raises(CaffeCompatError, match="CAFFECOMPAT_FORK: there is no fork 'nobody'"):
        caffe.Net(net, caffe.TEST)
