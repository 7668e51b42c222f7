"""SSD's builders of networks: their layers against published prototxts, and their sizes against the networks' own."""

from __future__ import annotations

import subprocess
import sys
from math import prod
from pathlib import Path

import pytest

from caffecompat.net import Net
from caffecompat.pycaffe import NetSpec
from caffecompat.pycaffe import layers as L
from caffecompat.pycaffe import params as P
from caffecompat.pycaffe.model_libs import (
    ConvBNLayer,
    CreateAnnotatedDataLayer,
    CreateMultiBoxHead,
    InceptionTower,
    InceptionV3Body,
    ResNet101Body,
    ResNet152Body,
    UnpackVariable,
    VGGNetBody,
    ZFNetBody,
)
from caffecompat.schema import pb, read_net, write_text


def _with_data(size: int) -> NetSpec:
    net = NetSpec()
    net.data = L.Input(shape=dict(dim=[1, 3, size, size]))
    return net


def _ssd300(net: NetSpec) -> None:
    """As ssd_coco.py builds it."""
    VGGNetBody(net, from_layer="data", fully_conv=True, reduced=True, dilated=True, dropout=False)
    bottom = net.keys()[-1]
    for name, channels, kernel_size, pad, stride in (
        ("conv6_1", 256, 1, 0, 1), ("conv6_2", 512, 3, 1, 2), ("conv7_1", 128, 1, 0, 1), ("conv7_2", 256, 3, 1, 2),
        ("conv8_1", 128, 1, 0, 1), ("conv8_2", 256, 3, 0, 1), ("conv9_1", 128, 1, 0, 1), ("conv9_2", 256, 3, 0, 1),
    ):  # fmt: skip
        ConvBNLayer(net, bottom, name, False, True, channels, kernel_size, pad, stride)
        bottom = name
    sizes = [21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0]
    CreateMultiBoxHead(
        net, data_layer="data", from_layers=["conv4_3", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2"],
        use_batchnorm=False, min_sizes=sizes[:-1], max_sizes=sizes[1:],
        aspect_ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]], steps=[8, 16, 32, 64, 100, 300],
        normalizations=[20, -1, -1, -1, -1, -1], num_classes=81, clip=False, prior_variance=[0.1, 0.1, 0.2, 0.2],
        kernel_size=3, pad=1,
    )  # fmt: skip


def test_ssd300_is_the_published_net(shared: Path) -> None:
    net = _with_data(300)
    _ssd300(net)
    published = read_net(shared / "real/jacinto-caffe/models/VGGNet/coco/SSD_300x300/deploy.prototxt")
    ours = [write_text(layer) for layer in net.to_proto().layer if layer.type != "Input"]
    theirs = [write_text(layer) for layer in published.layer if layer.type != "Input"]
    assert len(ours) == 97
    assert ours == theirs[:97]  # after them come Softmax and DetectionOutput, which the script adds


def _convolution_weights(net: Net) -> int:
    return sum(prod(layer.slots[0].parameter.shape) for layer in net.layers if layer.type == "Convolution")


@pytest.mark.parametrize(
    ("body", "size", "last", "shape", "weights"),
    [
        # ResNet's 44,549,160 and 60,192,808 without the classes' 2,049,000 and two numbers a channel of BatchNorm.
        (ResNet101Body, 64, "pool5", (1, 2048, 1, 1), 42_394_816),
        (ResNet152Body, 64, "pool5", (1, 2048, 1, 1), 57_992_384),
        # Inception v3's 23,834,568 without the classes' 2,049,000 and BatchNorm's 34,432.
        (InceptionV3Body, 299, "mixed_10/join", (1, 2048, 8, 8), 21_751_136),
    ],
)
def test_networks_have_their_size(body, size: int, last: str, shape: tuple[int, ...], weights: int) -> None:
    spec = _with_data(size)
    assert body(spec, "data") is spec
    net = Net(_without_fillers(spec), pb.TEST, log=False)
    assert net.blob_shapes[last] == shape
    assert _convolution_weights(net) == weights


def _without_fillers(spec: NetSpec) -> pb.NetParameter:
    """The net starting from zeros: random numbers cost seconds and nothing here depends on them."""
    message = spec.to_proto()
    for layer in message.layer:
        layer.convolution_param.ClearField("weight_filler")
    return message


def test_a_dilated_last_stage_keeps_its_size() -> None:
    spec = _with_data(64)
    ResNet101Body(spec, "data", use_pool5=False, use_dilation_conv5=True, use_global_stats=True)
    net = Net(_without_fillers(spec), pb.TEST, log=False)
    assert net.blob_shapes["res5c"] == (1, 2048, 4, 4)
    (norm,) = [layer.param for layer in net.layers if layer.name == "bn5a_branch2b"]
    assert norm.batch_norm_param.use_global_stats and not norm.batch_norm_param.HasField("moving_average_fraction")
    (scale,) = [layer.param for layer in net.layers if layer.name == "scale5a_branch2b"]
    assert [param.lr_mult for param in scale.param] == [0, 0]


@pytest.mark.parametrize(
    ("settings", "fc7"),
    [
        ({"fully_conv": True, "reduced": True, "dilated": True}, (1, 1024, 4, 4)),
        ({"fully_conv": True, "reduced": True}, (1, 1024, 2, 2)),
        ({"fully_conv": True, "dilated": True}, (1, 4096, 4, 4)),
        ({"fully_conv": True}, (1, 4096, 2, 2)),
        ({"fully_conv": True, "reduced": True, "dilated": True, "dilate_pool4": True}, (1, 1024, 8, 8)),
        ({"fully_conv": True, "reduced": True, "nopool": True}, (1, 1024, 2, 2)),
        ({}, (1, 4096)),
    ],
)
def test_forms_of_vgg(settings: dict[str, bool], fc7: tuple[int, ...]) -> None:
    spec = _with_data(64)
    VGGNetBody(spec, "data", freeze_layers=["conv1_1", "no_such_layer"], **settings)
    message = _without_fillers(spec)
    (first,) = [layer for layer in message.layer if layer.name == "conv1_1"]
    assert [param.lr_mult for param in first.param] == [0, 0]
    assert Net(message, pb.TEST, log=False).blob_shapes["fc7"] == fc7


@pytest.mark.parametrize("reduced", [True, False])
@pytest.mark.parametrize("dilated", [True, False])
def test_forms_of_zf(reduced: bool, dilated: bool) -> None:
    spec = _with_data(224)
    ZFNetBody(spec, "data", fully_conv=True, reduced=reduced, dilated=dilated, need_fc8=True)
    net = Net(_without_fillers(spec), pb.TEST, log=False)
    extent = net.blob_shapes["pool5"][2]
    assert net.blob_shapes["fc7"][1] == (1024 if reduced else 4096)
    assert net.blob_shapes["prob"][1:3] == (1000, extent if reduced or dilated else extent - 1)


def test_heads_with_everything_on() -> None:
    spec = _with_data(64)
    spec.a = L.Convolution(spec.data, num_output=8, kernel_size=3, stride=8)
    spec.b = L.Convolution(spec.a, num_output=8, kernel_size=3, stride=2)
    tops = CreateMultiBoxHead(
        spec, num_classes=3, from_layers=["a", "b"], use_objectness=True, min_sizes=[[8.0, 10.0], 30.0],
        max_sizes=[[20.0, 24.0], []], aspect_ratios=[2, [2, 3]], share_location=False, img_height=64, img_width=32,
        inter_layer_depth=[4, 0], normalizations=[-1, 10], flip=True, conf_postfix="_new",
    )  # fmt: skip
    net = Net(_without_fillers(spec), pb.TEST, log=False)
    # Two sizes with four shapes each at 8x8 places; one size with five shapes at 3x3 places.
    priors = 8 * 8 * 8 + 5 * 3 * 3
    shapes = [net.blob_shapes[name] for name in ("mbox_loc", "mbox_conf", "mbox_priorbox", "mbox_objectness")]
    assert shapes == [(1, priors * 4 * 3), (1, priors * 3), (1, 2, priors * 4), (1, priors * 2)]
    assert len(tops) == 4 and "a_inter_mbox_conf_new" in net.blob_shapes and "b_norm_mbox_loc" in net.blob_shapes
    with pytest.raises(AssertionError, match="from_layers and steps should have same length"):
        CreateMultiBoxHead(spec, num_classes=3, from_layers=["a", "b"], min_sizes=[1, 2], steps=[1])


def test_the_data_layer() -> None:
    spec = NetSpec()
    spec.data, spec.label = CreateAnnotatedDataLayer(
        "db", batch_size=4, train=False, label_map_file="map", transform_param=dict(mean_value=[104, 117, 123])
    )
    (layer,) = spec.to_proto().layer
    assert (layer.type, list(layer.top), layer.include[0].phase) == ("AnnotatedData", ["data", "label"], pb.TEST)
    assert (layer.data_param.source, layer.data_param.backend) == ("db", P.Data.LMDB)
    assert len(layer.annotated_data_param.batch_sampler) == 1


def test_small_helpers() -> None:
    assert UnpackVariable(3, 2) == UnpackVariable([3], 2) == [3, 3] and UnpackVariable([1, 7], 2) == [1, 7]
    spec = _with_data(16)
    chain = [dict(name="conv", num_output=2, kernel_size=[1, 3], pad=[0, 1], stride=[1, 1])]
    InceptionTower(spec, "data", "t", chain)
    InceptionTower(spec, "data", "u", chain)  # the dicts can be used again
    assert [name for name in spec.keys() if "conv" in name][:2] == ["t/conv", "t/conv_bn"]  # noqa: SIM118
    (layer,) = [layer for layer in spec.to_proto().layer if layer.name == "u/conv"]
    assert (layer.convolution_param.kernel_h, layer.convolution_param.kernel_w) == (1, 3)


def test_a_script_that_imports_everything(tmp_path: Path) -> None:
    script = tmp_path / "ssd.py"
    script.write_text(
        "from __future__ import print_function\n"
        "import caffe\n"
        "from caffe.model_libs import *\n"
        "net = caffe.NetSpec()\n"
        "net.data = L.Input(shape=dict(dim=[1, 3, 300, 300]))\n"
        "VGGNetBody(net, from_layer='data', need_fc=False)\n"
        "make_if_not_exist(os.path.join('a', 'b'))\n"
        "print(len(net.to_proto().layer), P.Pooling.MAX, caffe_pb2.TEST, check_if_exist('a/b'))\n"
    )
    command = [sys.executable, "-m", "caffecompat", "run", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=None)
    assert (done.returncode, done.stdout) == (0, "31 0 1 True\n"), done.stderr
