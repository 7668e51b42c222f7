"""What needs backward, and the lines Caffe logs while it sets a net up."""

import re
from pathlib import Path

import pytest

from caffecompat import data, glog
from caffecompat.net import Net
from caffecompat.schema import pb
from tests.net.nets import INPUT, LABEL, conv, layer, make_net, message

LOSS = 'layer { name: "loss" type: "EuclideanLoss" bottom: "%s" bottom: "data" top: "loss" }\n'


def needs(text: str) -> list[str]:
    return [step.name for step in make_net(text, pb.TRAIN).steps if step.needs_backward]


def test_only_what_lies_between_a_learning_layer_and_a_loss() -> None:
    text = INPUT + layer("TanH", "data", "t") + conv("a", "t", outputs=3) + layer("ReLU", "a", "side") + LOSS % "a"
    assert needs(text) == ["a", "a_a_0_split", "loss"]


def test_nothing_without_a_loss_everything_when_forced() -> None:
    assert needs(INPUT + conv("a", "data")) == []
    net = make_net("force_backward: true " + INPUT + conv("a", "data"))
    assert [step.bottom_needs for step in net.steps] == [[], [True]]


def test_frozen_layers_below_are_skipped() -> None:
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 }"
    assert needs(INPUT + conv("a", "data", outputs=3, more=frozen) + conv("b", "a", outputs=3) + LOSS % "b") == [
        "b",
        "loss",
    ]


def test_propagate_down_false_stops_it() -> None:
    text = INPUT + conv("a", "data", outputs=3) + conv("b", "a", outputs=3, more="propagate_down: false") + LOSS % "b"
    assert needs(text) == ["b", "loss"]


def _lines(text: list[str]) -> list[str]:
    """Log lines without time and thread, as one list of lines."""
    plain = (re.sub(r"^[IW]\d{4} [\d:.]+ +\d+ ", "", line.rstrip("\n")) for line in text)
    return [part for line in plain for part in line.split("\n")]


def test_log_is_caffes(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = golden / "cli"
    if not (folder / "train.log").exists():
        pytest.skip("no recorded log")
    recorded = _lines((folder / "train.log").read_text().splitlines())
    first = next(i for i, line in enumerate(recorded) if "NetState" in line)
    last = next(i for i, line in enumerate(recorded) if "Network initialization done" in line)
    said: list[str] = []
    glog.set_sink(said.append)
    monkeypatch.chdir(folder)
    try:
        net = Net("train_val.prototxt", pb.TRAIN, level=0, stages=("",), sources=data.make_source)
        net.close()
    finally:
        glog.set_sink(None)
    # Lines of Caffe's data layer, and of the Softmax inside its SoftmaxWithLoss; ours says whose rules hold.
    ours = [line for line in _lines(said) if "hdf5" not in line.split("]")[0] and ": the rules of BVLC" not in line]
    want = [line for line in recorded[first : last + 1] if "hdf5" not in line.split("]")[0]]
    want.reverse()
    want.remove("layer_factory.hpp:77] Creating layer loss")
    want.reverse()
    assert ours == want


def test_shared_parameters_are_logged() -> None:
    shared = 'param { name: "w" }'
    said: list[str] = []
    glog.set_sink(said.append)
    try:
        Net(message(INPUT + conv("a", "data", more=shared) + conv("b", "data", more=shared)), pb.TEST)
    finally:
        glog.set_sink(None)
    assert any("Sharing parameters 'w' owned by layer 'a', param index 0" in line for line in said)


def test_saved_message_is_caffes() -> None:
    net = make_net(INPUT + LABEL + conv("a", "data") + layer("TanH", "a", "t") + layer("ReLU", "a", "r"), pb.TRAIN)
    saved = net.message_with_splits()
    assert [x.name for x in saved.layer] == ["data", "label", "a", "a_a_0_split", "t", "r"]
    assert all(x.phase == pb.TRAIN and x.HasField("phase") for x in saved.layer)
    assert not net.message.layer[0].HasField("phase")
