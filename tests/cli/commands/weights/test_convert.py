"""``weights convert``, ``diff`` and ``stats``; a torch model's weights in a net compute what they do in torch."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from torch import nn

from caffecompat.formats import open_weights
from caffecompat.formats.archives import read_archive, write_archive
from caffecompat.formats.weights import WeightsError
from caffecompat.net import Net
from caffecompat.net.torch_weights import modules_of, read_state
from caffecompat.schema import pb


@pytest.fixture
def caffemodel(golden: Path) -> Path:
    return golden / "solvers/sgd/_iter_5.caffemodel"


def test_around_all_formats_and_back(command, caffemodel: Path, tmp_path: Path) -> None:
    before = caffemodel
    for name in ("a.safetensors", "b.npz", "c.caffemodel.h5", "d.caffemodel"):
        result = command("weights", "convert", before, tmp_path / name)
        assert result.status == 0, result.err
        assert "5 layers, 583 values" in result.out
        same = command("weights", "diff", caffemodel, tmp_path / name)
        assert (same.status, same.out) == (0, "0 of 10 blobs differ\n")
        before = tmp_path / name


def test_a_caffemodel_keeps_its_layers(command, caffemodel: Path, tmp_path: Path) -> None:
    command("weights", "convert", caffemodel, tmp_path / "again.caffemodel")
    first, second = open_weights(caffemodel), open_weights(tmp_path / "again.caffemodel")
    assert second.name == first.name
    assert [(x.name, x.type, x.bottoms, x.tops) for x in second.layers] == [
        (x.name, x.type, x.bottoms, x.tops) for x in first.layers
    ]


ARRAYS = {
    "a.0": np.arange(6, dtype=np.float32).reshape(2, 3),
    "big-endian": np.arange(3, dtype=">f4"),
    "strided": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)[::2],
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 3), np.int64),
    "flags": np.array([True, False]),
    "counts": np.array([2**63], np.uint64),
}


def test_safetensors_by_the_library(tmp_path: Path) -> None:
    write_archive(tmp_path / "x.safetensors", ARRAYS)
    by_others = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    by_us = read_archive(tmp_path / "x.safetensors")
    assert set(by_others) == set(by_us) == set(ARRAYS)
    for name, values in ARRAYS.items():
        for read in (by_others[name], by_us[name]):
            assert read.dtype == values.dtype.newbyteorder("<"), name
            np.testing.assert_array_equal(read, values)


def test_safetensors_have_no_such_values(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_archive(path, {"a": np.zeros(2, np.float32)})
    before = path.read_bytes()
    for values in (np.zeros(2, np.complex128), np.array(["text"])):
        with pytest.raises(WeightsError, match=r"x\.safetensors: cannot be written as safetensors"):
            write_archive(path, {"a": values})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def _safetensors(header: bytes, data: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def test_sixteen_bits_become_float32(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    bits = torch.tensor([1.5, -2.0]).bfloat16().view(torch.int16).numpy().tobytes()
    half = np.array([[0.25]], "<f2").tobytes()
    header = b"""{"w":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]},
        "h":{"dtype":"F16","shape":[1,1],"data_offsets":[4,6]},"i":{"dtype":"U8","shape":[1],"data_offsets":[6,7]}}"""
    path.write_bytes(_safetensors(header, bits + half + b"\7"))
    read = read_archive(path)
    assert {name: str(values.dtype) for name, values in read.items()} == {"w": "float32", "h": "float32", "i": "uint8"}
    assert (read["w"].tolist(), read["h"].tolist(), read["i"].tolist()) == ([[1.5], [-2]], [[0.25]], [7])


W = b'"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        b"nothing of the kind",
        _safetensors(b"{" + W + b"}", b"\0\0"),  # values end early
        _safetensors(b"{" + W + b"}", b"\0" * 8),  # more values than named
        _safetensors(b"{" + W.replace(b"[1]", b"[2]") + b"}", b"\0" * 4),  # a shape of more values
        _safetensors(b"{" + W.replace(b"[0,4]", b"[4,8]") + b"}", b"\0" * 8),  # a gap
        _safetensors(b"{" + W + b"," + W.replace(b"w", b"v") + b"}", b"\0" * 4),  # two arrays in one place
        _safetensors(b"{" + W.replace(b"F32", b"F99") + b"}", b"\0" * 4),
        _safetensors(b"{" + W.replace(b"F32", b"F8_E4M3").replace(b"[1]", b"[4]") + b"}", b"\0" * 4),
        _safetensors(b"[]", b""),
        _safetensors(b"{" + W, b"\0" * 4),
    ],
)
def test_bad_safetensors_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.safetensors: not a readable \.safetensors file \(.+\)"):
        read_archive(path)


def test_archives_that_are_not_there(tmp_path: Path) -> None:
    for name in ("x.safetensors", "x.npz"):
        with pytest.raises(WeightsError, match="no such file"):
            read_archive(tmp_path / name)
        (tmp_path / name).mkdir()
        with pytest.raises(WeightsError, match="not a readable"):
            read_archive(tmp_path / name)


def test_diff_names_what_differs(command, caffemodel: Path, tmp_path: Path) -> None:
    command("weights", "convert", caffemodel, tmp_path / "a.npz")
    arrays = dict(np.load(tmp_path / "a.npz"))
    arrays["conv1.0"] = arrays["conv1.0"] + np.float32(0.5)
    dropped = next(name for name in arrays if name != "conv1.0" and name.endswith(".1"))
    arrays["more.0"] = np.ones(2, np.float32)
    arrays["conv1.1"] = arrays["conv1.1"][:-1] if "conv1.1" in arrays else arrays[dropped]
    np.savez(tmp_path / "b.npz", **arrays)
    result = command("weights", "diff", tmp_path / "a.npz", tmp_path / "b.npz")
    assert result.status == 1
    assert "conv1.0" in result.out and "5.000e-01" in result.out
    assert f"more     ! only in {tmp_path / 'b.npz'}" in result.out and "! shapes" in result.out
    table = json.loads(command("weights", "diff", "--json", tmp_path / "a.npz", tmp_path / "b.npz").out)
    assert [row["name"] for row in table["blobs"]] == ["conv1.0", "conv1.1", "more"]


def test_stats(command, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"fc.0": np.array([[0, 1], [2, 3]], np.float32)})
    result = command("weights", "stats", tmp_path / "a.npz")
    assert result.status == 0
    assert result.out.splitlines()[1].split() == ["fc.0", "2x2", "1.50000e+00", "1.11803e+00", "0.00000e+00",
                                                  "3.00000e+00", "25.0%"]  # fmt: skip
    np.savez(tmp_path / "a.npz", **{"fc.0": np.array([np.nan, 1], np.float32)})
    assert command("weights", "stats", tmp_path / "a.npz").status == 1


# ---------------------------------------------------------------------------------------------- from torch


class Block(nn.Module):
    """A residual bottleneck as torch's libraries name its parts: the shortcut comes last."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    """The shortcut's convolution has the shape of the block's last one, as in ResNet-50."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(Block(4, 4, 8), Block(8, 4, 8))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer1(self.bn1(self.conv1(x)).relu()).mean((2, 3)))


FORMS = {
    "bvlc": lambda x: (
        f'layer {{ name: "bn_{x}" type: "BatchNorm" bottom: "{x}" top: "{x}" }} '
        f'layer {{ name: "scale_{x}" type: "Scale" bottom: "{x}" top: "{x}" scale_param {{ bias_term: true }} }}'
    ),
    "xilinx": lambda x: (
        f'layer {{ name: "bn_{x}" type: "BatchNorm" bottom: "{x}" top: "{x}" batch_norm_param {{ '
        'scale_filler { type: "constant" value: 1 } bias_filler { type: "constant" } } }'
    ),
    "pspnet": lambda x: f'layer {{ name: "bn_{x}" type: "BN" bottom: "{x}" top: "{x}" bn_param {{ momentum: 0.9 }} }}',
}


def _prototxt(form: str) -> str:
    norm = FORMS[form]

    def conv(name: str, bottom: str, outputs: int, kernel: int = 1) -> str:
        return (
            f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param {{ '
            f"num_output: {outputs} kernel_size: {kernel} pad: {kernel // 2} bias_term: false }} }} {norm(name)}"
        )

    def relu(name: str) -> str:
        return f'layer {{ name: "{name}_relu" type: "ReLU" bottom: "{name}" top: "{name}" }}'

    def block(name: str, bottom: str, first: bool) -> str:
        text, other = "", bottom
        if first:  # Caffe's residual nets have the shortcut first
            text, other = conv(f"{name}_branch1", bottom, 8), f"{name}_branch1"
        text += conv(f"{name}_branch2a", bottom, 4) + relu(f"{name}_branch2a")
        text += conv(f"{name}_branch2b", f"{name}_branch2a", 8)
        text += f'layer {{ name: "{name}" type: "Eltwise" bottom: "{other}" bottom: "{name}_branch2b" top: "{name}" }}'
        return text + relu(name)

    text = 'name: "r" layer { name: "data" type: "Input" top: "data" '
    text += "input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } } }"
    text += conv("conv1", "data", 4, 3) + relu("conv1") + block("res2a", "conv1", True) + block("res2b", "res2a", False)
    text += 'layer { name: "pool" type: "Pooling" bottom: "res2b" top: "pool" '
    text += "pooling_param { pool: AVE global_pooling: true } }"
    text += 'layer { name: "fc5" type: "InnerProduct" bottom: "pool" top: "fc5" inner_product_param { num_output: 5 } }'
    return (
        text
        + 'layer { name: "new" type: "InnerProduct" bottom: "pool" top: "new" inner_product_param { num_output: 2 } }'
    )


@pytest.fixture
def resnet(tmp_path: Path, monkeypatch) -> ResNet:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    model = ResNet().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                values.uniform_(0.3, 1.5)
    return model


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_torch_resnet_computes_the_same_as_a_net(command, resnet: ResNet, form: str, suffix: str) -> None:
    Path("net.prototxt").write_text(_prototxt(form))
    state = resnet.state_dict()
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{name}": values for name, values in state.items()}, "epoch": 3}, "r.pth")
    else:
        safetensors.torch.save_file(state, "r.safetensors")
    words = ["weights", "convert", f"r{suffix}", "out.caffemodel", "--model", "net.prototxt"]
    asked = command(*words)
    assert asked.status == 1 and not Path("out.caffemodel").exists()
    assert "res2a_branch1" in asked.out and "<- layer1.0.downsample.0" in asked.out
    assert "# no weights for layer: new" in asked.out and "run again with --yes" in asked.out
    assert "--yes --allow-missing" in asked.out
    refused = command(*words, "--map", "out.caffemodel.map.txt")
    assert refused.status == 1 and not Path("out.caffemodel").exists()
    assert "no weights for 1 layer with parameters: new" in refused.err
    result = command(*words, "--map", "out.caffemodel.map.txt", "--allow-missing")
    assert result.status == 0, result.err
    assert "no weights for 1 layer with parameters: new; left out of out.caffemodel" in result.out
    net = Net("net.prototxt", pb.TEST, log=False)
    report = net.load_weights("out.caffemodel")
    assert report.missing == ["new"]
    picture = torch.randn(2, 3, 6, 5)
    with torch.no_grad():
        torch.testing.assert_close(net.forward({"data": picture})["fc5"], resnet(picture), rtol=1e-5, atol=1e-5)


def test_the_order_of_modules_is_restored(tmp_path: Path) -> None:
    names = "stem.conv stem.norm stages.2.conv1 stages.2.bn1 stages.2.conv2 stages.2.bn2 stages.10.0 stages.10.1 head"
    state = {}
    for name in names.split():
        state |= {f"{name}.weight": np.zeros(2, np.float32), f"{name}.bias": np.zeros(2, np.float32)}
        if name.endswith(("norm", "bn1", "bn2", "10.1")):
            state |= {f"{name}.{part}": np.zeros(2, np.float32) for part in ("running_mean", "running_var")}
            state[f"{name}.num_batches_tracked"] = np.array(1)
    write_archive(tmp_path / "x.safetensors", state)
    read = list(modules_of(read_state(tmp_path / "x.safetensors")))
    assert read == ["head", *names.split()[2:6], "stages.10.0", "stages.10.1", "stem.conv", "stem.norm"]
    assert set(read_state(tmp_path / "x.safetensors")) == set(state)


def test_a_checkpoint_of_parts_loses_none(command, resnet: ResNet) -> None:
    Path("net.prototxt").write_text(_prototxt("xilinx"))
    head = {name.removeprefix("fc."): values for name, values in resnet.state_dict().items() if name.startswith("fc.")}
    body = {name: values for name, values in resnet.state_dict().items() if not name.startswith("fc.")}
    torch.save({"backbone": body, "head": head, "epoch": 3}, "r.pth")
    told = command("weights", "convert", "r.pth", "out.caffemodel", "--model", "net.prototxt").out
    assert (
        re.search(r"fc5 +<- head ", told) and re.search(r"conv1 +<- backbone.conv1 ", told) and "not used" not in told
    )


def test_tensors_that_a_map_leaves_out_are_listed(command, resnet: ResNet) -> None:
    Path("net.prototxt").write_text(_prototxt("xilinx"))
    torch.save(resnet.state_dict() | {"anchors": torch.ones(3)}, "r.pth")
    words = ["weights", "convert", "r.pth", "out.caffemodel", "--model", "net.prototxt"]
    assert "# not used: (the model itself) (anchors 3)" in command(*words).out
    path = Path("out.caffemodel.map.txt")
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("fc5 ")))
    result = command(*words, "--map", path)
    assert result.status == 1 and "fc5, new" in result.err
    assert "not used: fc (weight 5x8, bias 5)" in result.out and "anchors 3" in result.out


def test_blobs_by_layer_that_leave_layers_of_the_net_empty(command, caffemodel: Path, tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }'
        'layer { name: "new" type: "InnerProduct" bottom: "fc" top: "new" inner_product_param { num_output: 2 } }'
    )
    np.savez(tmp_path / "a.npz", **{"fc.0": np.ones((2, 2), np.float32), "fc.1": np.ones(2, np.float32)})
    words = ["weights", "convert", tmp_path / "a.npz", tmp_path / "b.caffemodel", "--model", net]
    refused = command(*words)
    assert refused.status == 1 and "parameters: new" in refused.err and not (tmp_path / "b.caffemodel").exists()
    assert command(*words, "--allow-missing").status == 0
    assert [layer.name for layer in open_weights(tmp_path / "b.caffemodel").layers if layer.blobs] == ["fc"]


def test_colors_and_wrong_maps(command, resnet: ResNet) -> None:
    Path("net.prototxt").write_text(_prototxt("xilinx"))
    torch.save(resnet.state_dict(), "r.pth")
    words = ["weights", "convert", "r.pth", "out.caffemodel", "--model", "net.prototxt"]
    assert command(*words, "--yes", "--swap-colours", "--allow-missing").status == 0
    net = Net("net.prototxt", pb.TEST, log=False)
    net.load_weights("out.caffemodel")
    picture = torch.randn(2, 3, 6, 5)
    with torch.no_grad():
        torch.testing.assert_close(net.forward({"data": picture.flip(1)})["fc5"], resnet(picture), rtol=1e-5, atol=1e-5)
    Path("map.txt").write_text("conv1 <- fc\nnothing <- conv1\nfc5 <- gone\n")
    wrong = command(*words, "--map", "map.txt")
    assert wrong.status == 2
    assert "conv1 <- fc: shapes" in wrong.err and "nothing <- conv1: the net has no such layer" in wrong.err
    assert "fc5 <- gone: the file has no such module" in wrong.err
    Path("map.txt").write_text("conv1 = fc\n")
    assert "map.txt:1: expected 'layer <- module'" in command(*words, "--map", "map.txt").err
    assert "no net's layers; give the model (--model)" in command("weights", "convert", "r.pth", "o.caffemodel").err
    torch.save(torch.nn.Identity, "whole.pth")
    assert "state_dict" in command("weights", "convert", "whole.pth", "o.npz", "--model", "net.prototxt").err


def test_a_state_dict_in_another_file_without_a_model(command, resnet: ResNet) -> None:
    state = resnet.state_dict()
    torch.save({"state_dict": {f"module.{key}": values for key, values in state.items()}}, "r.pth")
    before = "r.pth"
    for name in ("a.npz", "b.safetensors", "c.npz"):
        assert command("weights", "convert", before, name).status == 0
        read = read_state(name)
        assert set(read) == set(state)
        for key, values in state.items():
            assert read[key].dtype == values.numpy().dtype
            np.testing.assert_array_equal(read[key], values.numpy())
        before = name
    refused = command("weights", "convert", "r.pth", "d.caffemodel")
    assert refused.status == 2 and "give the model (--model), or write a .npz or .safetensors" in refused.err
    refused = command("weights", "convert", "r.pth", "d.npz", "--swap-colors")
    assert refused.status == 2 and "it takes no map, swapping of colors" in refused.err
