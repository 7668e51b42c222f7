"""Crops that find their offset in the net: FCN's, HED's and RCF's public nets, and what cannot be aligned."""

from __future__ import annotations

import pytest
import torch

from caffecompat import glog
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.forks import Fork
from caffecompat.net import Net
from caffecompat.schema import NetDocument, open_net, pb
from tests.net.nets import layer, make_net, message, problems_of

WIDTH = 2  # channels: offsets do not depend on them


def conv(name: str, bottom: str, kernel: int, more: str = "", kind: str = "Convolution", top: str = "") -> str:
    outputs = 1 if kind == "Deconvolution" or kernel == 1 else WIDTH
    return layer(
        kind, bottom, top or name, f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} {more} }}", name
    )


def pool(name: str, bottom: str, stride: int = 2) -> str:
    return layer("Pooling", bottom, name, f"pooling_param {{ pool: MAX kernel_size: 2 stride: {stride} }}")


def vgg(pad: int, *, last_stride: int = 2, dilation: int = 1) -> str:
    """The convolutions of VGG-16 up to conv5_3, with as much padding in the first as FCN (100) or HED (35) has."""
    text, blob = "", "data"
    for block, depth in enumerate((2, 2, 3, 3, 3), 1):
        for index in range(1, depth + 1):
            more = f"pad: {pad if (block, index) == (1, 1) else dilation if block == 5 else 1}"
            more += f" dilation: {dilation}" if block == 5 else ""
            text += conv(f"conv{block}_{index}", blob, 3, more)
            blob = f"conv{block}_{index}"
            text += f'layer {{ name: "relu{block}_{index}" type: "ReLU" bottom: "{blob}" top: "{blob}" }}\n'
        if block < 5:
            text += pool(f"pool{block}", blob, last_stride if block == 4 else 2)
            blob = f"pool{block}"
    return text


def data(side: int) -> str:
    shape = f"input_param {{ shape {{ dim: [1, 3, {side}, {side}] }} }}"
    return f'layer {{ name: "data" type: "Input" top: "data" {shape} }}\n'


def crops(kind: str, factors: dict[str, int]) -> str:
    """A score of each of these blobs, enlarged and cropped to the picture."""
    text = ""
    for blob, factor in factors.items():
        text += conv(f"score_{blob}", blob, 1)
        scores = f"score_{blob}"
        if factor > 1:
            text += conv(f"up_{blob}", scores, 2 * factor, f"stride: {factor}", "Deconvolution")
            scores = f"up_{blob}"
        text += layer(kind, scores, f"crop_{blob}", 'bottom: "data"')
    return text


def offsets(net: Net) -> list[list[int]]:
    return [one.module.offsets for one in net.layers if one.type in ("Crop", "AutoCrop")]


def hed_net(text: str) -> Net:
    return Net(NetDocument.from_message(message(text), fork=Fork.HED), pb.TEST, log=False)


HED = {"conv1_2": 1, "conv2_2": 2, "conv3_3": 4, "conv4_3": 8, "conv5_3": 16}


def test_hed() -> None:
    """The offsets with which HED's nets were brought to BVLC's Crop."""
    net = hed_net(data(64) + vgg(35) + crops("Crop", HED))
    assert offsets(net) == [[value, value] for value in (34, 35, 36, 38, 42)]
    assert all(net.blob_shapes[f"crop_{blob}"] == (1, 1, 64, 64) for blob in HED)


def test_rcf() -> None:
    """Its fifth stage has stride 8 and dilation 2."""
    stages = {"conv2_2": 2, "conv3_3": 4, "conv4_3": 8, "conv5_3": 8}
    net = make_net(data(60) + vgg(1, last_stride=1, dilation=2) + crops("AutoCrop", stages))
    assert net.fork is Fork.RCF and offsets(net) == [[value, value] for value in (1, 2, 4, 0)]


@pytest.mark.parametrize(("kind", "old"), [("CROP", True), ("AutoCrop", False)])
def test_fcn_32s(kind: str, old: bool) -> None:
    """19, as FCN's later nets for BVLC's Crop write out."""
    text = data(50) + vgg(100) + pool("pool5", "conv5_3") + conv("fc6", "pool5", 7) + conv("score_fr", "fc6", 1)
    text += conv("upscore", "score_fr", 64, "stride: 32", "Deconvolution") + layer(
        "AutoCrop", "upscore", "score", 'bottom: "data"'
    )
    if old:
        text = text.replace("layer {", "layers {").replace("input_param { shape { dim: [1, 3, 50, 50] } }", "")
        text = text.replace('layers { name: "data" type: "Input" top: "data"  }\n', "")
        for today, then in {"Convolution": "CONVOLUTION", "Deconvolution": "DECONVOLUTION", "Pooling": "POOLING",
                            "ReLU": "RELU", "AutoCrop": "CROP"}.items():  # fmt: skip
            text = text.replace(f'type: "{today}"', f"type: {then}")
        text = 'input: "data" input_dim: [1, 3, 50, 50]\n' + text
    net = make_net(text)
    assert net.blob_shapes["score"] == (1, 1, 50, 50) and offsets(net) == [[19, 19]]


def test_a_crop_upstream_counts() -> None:
    """FCN-16s: two enlarged scores meet, and what comes of them is cropped again."""
    text = (
        data(32) + conv("a", "data", 3, "pad: 10") + pool("b", "a") + conv("up", "b", 4, "stride: 2", "Deconvolution")
    )
    text += (
        layer("AutoCrop", "up", "inner", 'bottom: "a"')
        + conv("c", "inner", 3)
        + layer("AutoCrop", "c", "outer", 'bottom: "data"')
    )
    assert offsets(make_net(text)) == [[1, 1], [8, 8]]


@pytest.mark.parametrize("kind", ["ReLU", "HardSwish", "HSwish", "HardSigmoid", "Mish", "GELU", "SiLU", "DropPath"])
def test_activations_keep_pixels_where_they_are(kind: str) -> None:
    more = "drop_path_param { drop_prob: 0.5 }" if kind == "DropPath" else ""
    text = (
        data(6)
        + conv("a", "data", 3, "pad: 4")
        + layer(kind, "a", "b", more)
        + layer("AutoCrop", "b", "c", 'bottom: "data"')
    )
    assert offsets(make_net(text)) == [[3, 3]]


def test_numbers_and_gradient() -> None:
    net = make_net(data(6) + conv("a", "data", 3, "pad: 4") + layer("AutoCrop", "a", "top", 'bottom: "data"'))
    weight = next(one for one in net.layers if one.name == "a").module.weight
    with torch.no_grad():
        weight.normal_()
    picture = torch.randn(1, 3, 6, 6)
    made = net.forward({"data": picture})["top"]
    want = torch.nn.functional.conv2d(picture, weight, padding=1)
    torch.testing.assert_close(made, want)
    made.sum().backward()
    mine = weight.grad.clone()
    weight.grad = None
    torch.nn.functional.conv2d(picture, weight, padding=1).sum().backward()
    torch.testing.assert_close(mine, weight.grad)


def test_bvlcs_crop_stays_as_it_is() -> None:
    text = data(9) + conv("a", "data", 3, "pad: 4") + layer("Crop", "a", "top", 'bottom: "data"')
    assert offsets(make_net(text)) == [[0, 0]]
    given = text.replace('bottom: "data" }', 'bottom: "data" crop_param { offset: 1 } }')
    assert offsets(hed_net(text)) == [[3, 3]] and offsets(hed_net(given)) == [[1, 1]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (layer("AutoCrop", "data", "top", 'bottom: "other"'), "do not come from one blob"),
        (pool("a", "data") + layer("AutoCrop", "a", "top", 'bottom: "data"'), "a pixel of 'a' is 2 of 'data' along h"),
        (conv("a", "data", 3) + layer("AutoCrop", "a", "top", 'bottom: "data"'), "the offset is negative, -1"),
        (conv("a", "data", 2, "pad: 2") + layer("AutoCrop", "a", "top", 'bottom: "data"'), "no whole number, 3/2"),
        (
            layer("InnerProduct", "data", "a", "inner_product_param { num_output: 2 }")
            + layer("AutoCrop", "a", "top", 'bottom: "data"'),
            "does not keep the order of pixels",
        ),
    ],
)
def test_what_cannot_be_aligned_is_told_with_its_place(tmp_path, text: str, said: str) -> None:
    whole = data(9) + data(9).replace('"data"', '"other"') + text
    [problem] = problems_of(tmp_path, whole)
    line = len(whole.splitlines())
    assert problem.startswith(f"{line}:1: layer 'top' (AutoCrop): ") and said in problem


def test_a_deployed_net_says_the_offsets() -> None:
    """What is left of HED's net no longer shows whose Crop it has."""
    document = NetDocument.from_message(message(data(64) + vgg(35) + crops("Crop", HED)), fork=Fork.HED)
    deployed = deploy_net(document)
    stated = [one for one in deployed.message.layer if one.type == "Crop"]
    assert [list(one.crop_param.offset) for one in stated] == [[value, value] for value in (34, 35, 36, 38, 42)]
    assert offsets(Net(deployed.message, pb.TEST, log=False)) == [list(one.crop_param.offset) for one in stated]
    assert sum("offset stated" in note for note in deployed.notes) == 1


def test_a_crop_that_other_caffes_cut_elsewhere_is_told(tmp_path) -> None:
    path = tmp_path / "deploy.prototxt"
    path.write_text(data(9) + conv("a", "data", 3, "pad: 4") + layer("Crop", "a", "top", 'bottom: "data"'))
    lines: list[str] = []
    glog.set_sink(lines.append)
    try:
        for _ in range(2):
            Net(path, pb.TEST, log=False)
        Net(open_net(path, fork=Fork.HED), pb.TEST, log=False)
        named = len(lines)
        path.write_text(path.read_text().replace("pad: 4", "pad: 1"))
        Net(path, pb.TEST, log=False)
    finally:
        glog.set_sink(None)
    warnings = [line for line in lines if "crop_param" in line]
    assert len(warnings) == 1 and warnings[0] in lines[:named]
    assert f"{path}:3:1: layer 'top' (Crop): " in warnings[0] and "crop_param { offset: 3 offset: 3 }" in warnings[0]
