"""NaN and infinity: found where they begin, refused by every verb that holds what it writes against the net."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.cli.main import main
from caffecompat.compare.nets import compare_nets, load_blobs
from caffecompat.compare.nonfinite import NonFiniteError, watch_values
from caffecompat.formats import load_caffemodel, save_caffemodel
from caffecompat.net import Net
from caffecompat.schema import pb, read_net
from tests.net.nets import INPUT, conv, layer, make_net

NET = (
    INPUT + conv("c", "data") + layer("BatchNorm", "c", "b")
    + layer("Scale", "b", "s", "scale_param { bias_term: true }")
    + layer("ReLU", "s", "s", name="r") + conv("e", "s")
)  # fmt: skip
VERBS = {
    "onnx": ["export", "onnx", "--model", "net.prototxt", "--weights", "net.caffemodel", "out/net.onnx"],
    "torch": ["export", "torch", "--model", "net.prototxt", "--weights", "net.caffemodel", "out/net.py"],
    "deploy": ["export", "deploy", "--model", "net.prototxt", "--weights", "net.caffemodel", "out/", "--merge-bn"],
    "merge-bn": ["merge-bn", "net.prototxt", "net.caffemodel", "out/net.prototxt", "out/net.caffemodel"],
}


def _folder(tmp_path: Path, value: float, where: str = "e", tail: str = "") -> None:
    """A net in the current folder one of whose weights is `value`."""
    (tmp_path / "net.prototxt").write_text(NET + tail)
    net = Net(tmp_path / "net.prototxt", pb.TEST, log=False)
    blobs = net.blobs_by_layer()
    blobs["b"][1][:] = blobs["b"][2][:] = 1
    blobs["s"][0][:] = 1
    blobs[where][0].reshape(-1)[1] = value
    save_caffemodel(tmp_path / "net.caffemodel", net.message, blobs)
    (tmp_path / "out").mkdir()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("verb", VERBS)
def test_an_export_of_such_a_net_fails_and_leaves_no_file(verb, value, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    _folder(tmp_path, value)
    assert main(VERBS[verb]) == 1
    said = "".join(capsys.readouterr())
    assert "NaN or infinity in the weights: 'e' blob 0 (1 of 16 values)" in said
    assert "the first layer to compute NaN or infinity is 'e' (Convolution): 72 of 288 values" in said
    assert "--allow-nonfinite" in said
    assert not list((tmp_path / "out").iterdir())
    assert main([*VERBS[verb], "--allow-nonfinite"]) == 0
    assert list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("verb", VERBS)
def test_a_choice_does_not_hide_them(verb, tmp_path, monkeypatch, capsys) -> None:
    """What ArgMax makes of NaN is a number like others."""
    monkeypatch.chdir(tmp_path)
    _folder(tmp_path, np.nan, tail=layer("ArgMax", "e", "best", "argmax_param { axis: 1 }"))
    assert main(VERBS[verb]) == 1
    assert "'e' (Convolution)" in "".join(capsys.readouterr())
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("verb", VERBS)
def test_weights_that_reach_no_output_count_too(verb, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    tail = layer("Power", "e", "z", "power_param { scale: 0 }") + layer("Threshold", "z", "t")
    _folder(tmp_path, np.nan, where="c", tail=tail)
    assert main(VERBS[verb]) == 1
    said = "".join(capsys.readouterr())
    assert "'c' blob 0" in said and "first layer to compute NaN or infinity is 'c'" in said


def test_they_must_be_at_the_same_places() -> None:
    text = INPUT + conv("c", "data", outputs=2)
    first, second = make_net(text), make_net(text)
    load_blobs(second, first.blobs_by_layer())
    for net, place in ((first, 0), (second, 1)):
        net.layers[1].slots[0].tensor()[place] = float("nan")
    with pytest.raises(NonFiniteError, match="'c' blob 0"):
        compare_nets(first, second)
    (found,) = compare_nets(first, second, allow_nonfinite=True)
    assert found.largest == np.inf and found.nonfinite == 72
    (same,) = compare_nets(first, first, allow_nonfinite=True)
    assert same.largest == 0 and "72 values are NaN or infinity" in same.line()


def test_the_first_layer_is_named_though_layers_work_in_place() -> None:
    net = make_net(INPUT + conv("c", "data") + layer("Log", "c", "c", name="log") + layer("ReLU", "c", "c", name="r"))
    with watch_values(net) as values:
        net.forward({"data": torch.randn(2, 3, 6, 6)})
    assert not values.weights and values.first.startswith("'log' (Log): ")
    with watch_values(net) as values:
        net.forward({"data": torch.zeros(2, 3, 6, 6)})
    assert "'log'" in str(values)  # log(0) is an infinity


def test_weights_diff_and_compare_blobs_say_so(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    _folder(tmp_path, np.nan)
    blobs = load_caffemodel("net.caffemodel")
    arrays = {name: [np.array(blob) for blob in given] for name, given in blobs.items()}
    save_caffemodel("same.caffemodel", read_net("net.prototxt"), arrays)
    arrays["e"][0].reshape(-1)[1] = 0
    save_caffemodel("other.caffemodel", read_net("net.prototxt"), arrays)
    assert main(["weights", "diff", "net.caffemodel", "same.caffemodel"]) == 0
    assert "e.0: 1 values of A and 1 of B are NaN or infinity, at the same places" in capsys.readouterr().out
    assert main(["weights", "diff", "net.caffemodel", "other.caffemodel", "--tolerance", "1e9"]) == 1
    assert "1 values of A and 0 of B are NaN or infinity, at different places" in capsys.readouterr().out
    for name, values in (("a", [np.nan, 1]), ("b", [np.nan, 1]), ("c", [0, 1])):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", np.array(values, np.float32))
    assert main(["compare-blobs", "a", "b"]) == 0
    assert main(["compare-blobs", "a", "c", "--tolerance", "1e9"]) == 1
    assert main(["compare-blobs", "c", "a", "--tolerance", "1e9"]) == 1
