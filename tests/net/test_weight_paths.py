"""Files of weights as the library takes them, and as the command line's texts list them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat import load_net
from caffecompat.cli.main import main
from caffecompat.errors import CaffeCompatError
from caffecompat.formats import save_caffemodel
from caffecompat.net import Net
from caffecompat.net.weights import listed_files, weight_paths
from caffecompat.schema import pb
from tests.net.nets import INPUT, conv

TEXT = INPUT + conv("a", "data") + conv("b", "a")


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Net:
    """A net, and files with a's weights 1, b's weights 2, and both 3 under a name with a comma."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(TEXT)
    net = Net("net.prototxt", pb.TEST, log=False)
    for path, values in (("a.caffemodel", {"a": 1}), ("b.caffemodel", {"b": 2}), ("a,b.caffemodel", {"a": 3, "b": 3})):
        message = pb.NetParameter()
        message.layer.extend(layer for layer in net.message.layer if layer.name in values)
        blobs = {name: [np.full_like(b, value) for b in net.blobs_by_layer()[name]] for name, value in values.items()}
        save_caffemodel(path, message, blobs)
    return net


def _values(net: Net) -> list[float]:
    return [float(blobs[0].mean()) for blobs in net.blobs_by_layer().values()]


def test_a_comma_is_a_character(net: Net) -> None:
    net.load_weights("a,b.caffemodel")
    assert _values(net) == [3, 3]
    net.load_weights(Path("a,b.caffemodel"))
    with pytest.raises(CaffeCompatError, match=r"a.caffemodel,b.caffemodel"):
        net.load_weights("a.caffemodel,b.caffemodel")


def test_a_list_is_several_files(net: Net) -> None:
    report = net.load_weights(["a.caffemodel", Path("b.caffemodel")])
    assert _values(net) == [1, 2] and report.loaded == ["a", "b"]
    net.load_weights(("a.caffemodel", "a,b.caffemodel"))
    assert _values(net) == [3, 3]
    assert load_net("net.prototxt", ["a.caffemodel", "b.caffemodel"]) is not None
    assert _values(Net("net.prototxt", pb.TEST, log=False, weights=["a.caffemodel", "b.caffemodel"])) == [1, 2]


@pytest.mark.parametrize("nothing", ["", " ", [], ["a.caffemodel", ""]])
def test_nothing_is_an_error(nothing: str | list[str], net: Net) -> None:
    with pytest.raises(CaffeCompatError, match="no file of weights is named"):
        net.load_weights(nothing)
    with pytest.raises(CaffeCompatError, match="no file of weights is named"):
        Net("net.prototxt", pb.TEST, log=False, weights=nothing)
    assert weight_paths("x") == ["x"]


def test_the_command_line_splits(net: Net, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed_files("a.caffemodel, b.caffemodel,") == ["a.caffemodel", "b.caffemodel"]
    assert listed_files("a,b.caffemodel") == ["a,b.caffemodel"]
    assert main(["merge-bn", "net.prototxt", "a.caffemodel,b.caffemodel", "out.prototxt", "out.caffemodel"]) == 0
    assert main(["export", "torch", "--model", "net.prototxt", "--weights", "a,b.caffemodel", "net.py"]) == 0
    assert main(["export", "deploy", "--model", "net.prototxt", "--weights", "", "out/"]) == 2
    assert "--weights is empty" in capsys.readouterr().err
