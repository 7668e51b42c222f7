"""ResNets of torchvision's names in nets of every habit of naming: all of it arrives, and computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from caffecompat.deploy.convert_weights import UnfilledLayers, convert_weights
from caffecompat.errors import CaffeCompatError
from caffecompat.formats import open_weights
from caffecompat.net import Net
from caffecompat.schema import pb
from tests.net.torchvision_resnet import NAMES, ResNet, prototxt


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(5)


def _convert(**how: Any) -> tuple[set[str], list[str]]:
    """Convert r.pth to o.caffemodel for net.prototxt: the layers left out, and the notes that are no pairs."""
    notes: list[str] = []
    done = convert_weights(
        "r.pth", "o.caffemodel", model="net.prototxt", accept_guess=True, on_note=notes.append, **how
    )
    return set(done.missing), [note for note in notes if " <- " not in note or note.startswith("#")]


def _check_outputs(picture: torch.Tensor, expected: torch.Tensor, blob: str = "score") -> None:
    net = Net("net.prototxt", pb.TEST, log=False, weights="o.caffemodel")
    with torch.no_grad():
        found = net.forward({"data": picture})[blob]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("shortcut_first", [True, False])
@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("depth", [34, 50, 101])
def test_every_convolution_and_norm_arrives(depth: int, names: str, shortcut_first: bool) -> None:
    model = ResNet(depth, width=4, classes=7)
    torch.save(model.state_dict(), "r.pth")
    Path("net.prototxt").write_text(prototxt(depth, 4, 7, names=names, shortcut_first=shortcut_first))
    assert _convert() == (set(), [])
    picture = torch.randn(2, 3, 33, 33)
    with torch.no_grad():
        _check_outputs(picture, model(picture))


@pytest.mark.parametrize("depth", [34, 101])
@pytest.mark.parametrize("shortcut_first", [True, False])
def test_shortcuts_that_no_name_shows_are_right_or_doubted(depth: int, shortcut_first: bool) -> None:
    state = ResNet(depth, width=4, classes=7).state_dict()
    torch.save({key.replace("downsample", "extra"): values for key, values in state.items()}, "r.pth")
    text = prototxt(depth, 4, 7, names="numbered", shortcut_first=shortcut_first)
    Path("net.prototxt").write_text(text)
    missing, notes = _convert()
    assert not missing and not any("not used" in note for note in notes)
    blobs = open_weights("o.caffemodel").load()
    for stage in range(4):
        key = f"layer{stage + 1}.0.downsample.0.weight"
        layer = NAMES["numbered"](stage, 0, "s")
        if key in state and not np.array_equal(blobs[layer][0], state[key].numpy()):
            assert any(note.startswith(f"# look here: {layer} <-") for note in notes), layer


def test_what_only_shapes_pair_is_doubted() -> None:
    """A module named like a shortcut that is none, so that neither names nor the order of the others find its layer."""
    model = ResNet(34, width=4, classes=7)
    torch.save({key.replace("fc.", "head.proj."): values for key, values in model.state_dict().items()}, "r.pth")
    Path("net.prototxt").write_text(prototxt(34, 4, 7))
    assert _convert() == (set(), ["# look here: score <- head.proj: guessed by shape, nothing else is left for it"])
    picture = torch.randn(2, 3, 33, 33)
    _check_outputs(picture, model(picture).detach())


def test_what_shapes_pair_in_two_ways_is_left_out_and_listed() -> None:
    state = ResNet(34, width=4, classes=7).state_dict()
    twice = {key.replace("fc.", "other.proj."): values for key, values in state.items() if key.startswith("fc.")}
    torch.save({key.replace("fc.", "head.proj."): values for key, values in state.items()} | twice, "r.pth")
    Path("net.prototxt").write_text(prototxt(34, 4, 7))
    with pytest.raises(
        UnfilledLayers, match=r"no weights for 1 layer with parameters: score; o\.caffemodel is not written"
    ):
        _convert()
    missing, notes = _convert(allow_missing=True)
    assert missing == {"score"}
    assert {note for note in notes if "not used" in note} == {
        f"# not used: {module}.proj (weight 7x32, bias 7)" for module in ("head", "other")
    }


@pytest.mark.parametrize(("channels", "depth"), [(1, 34), (1, 50), (4, 50)])
def test_another_number_of_input_channels_is_offered(channels: int, depth: int) -> None:
    model = ResNet(depth, width=4, classes=7)
    torch.save(model.state_dict(), "r.pth")
    Path("net.prototxt").write_text(prototxt(depth, 4, 7, channels=channels))
    with pytest.raises(
        UnfilledLayers, match=r"layer conv1 takes \d channels?, module conv1 3: with --adapt-first-layer it gets"
    ):
        _convert()
    assert not Path("o.caffemodel").exists()
    missing, _ = _convert(adapt_first_layer=True)
    assert not missing
    with pytest.raises(CaffeCompatError, match=r"(?s)map does not fit:.*conv1 <- conv1: shapes.*--adapt-first-layer"):
        _convert(map_file="o.caffemodel.map.txt")
    picture = torch.randn(2, channels, 33, 33)
    if channels == 1:
        expected = model(picture.expand(-1, 3, -1, -1))
    else:
        red, green, blue, more = (0.75 * picture).unbind(1)
        expected = model(torch.stack([red + more, green, blue], 1))
    _check_outputs(picture, expected.detach())


def test_a_fourth_channel_comes_after_swapped_colors() -> None:
    model = ResNet(34, width=4, classes=7)
    torch.save(model.state_dict(), "r.pth")
    Path("net.prototxt").write_text(prototxt(34, 4, 7, channels=4))
    _convert(adapt_first_layer=True, swap_colors=True)
    weight = model.state_dict()["conv1.weight"].numpy()
    expected = weight[:, [2, 1, 0, 2]] * 0.75
    np.testing.assert_allclose(open_weights("o.caffemodel").load()["conv1"][0], expected, rtol=1e-6)


def test_no_channel_is_given_up() -> None:
    state = ResNet(34, width=4, classes=7).state_dict()
    state["conv1.weight"] = torch.randn(4, 4, 7, 7)
    torch.save(state, "r.pth")
    Path("net.prototxt").write_text(prototxt(34, 4, 7))
    with pytest.raises(UnfilledLayers, match="conv1"):
        _convert(adapt_first_layer=True)
    Path("net.prototxt").write_text(prototxt(34, 4, 7, channels=4))
    _, notes = _convert(adapt_first_layer=True)
    assert notes[0].startswith("--adapt-first-layer has no effect")


def test_other_classes_are_offered() -> None:
    torch.save(ResNet(34, width=4, classes=1000).state_dict(), "r.pth")
    Path("net.prototxt").write_text(prototxt(34, 4, 7))
    with pytest.raises(
        UnfilledLayers, match="layer score has 7 outputs, module fc 1000: with --allow-missing it is left out"
    ):
        _convert()
    missing, notes = _convert(allow_missing=True)
    assert missing == {"score"} and "# not used: fc (weight 1000x32, bias 1000)" in notes
