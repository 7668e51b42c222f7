"""Verdicts on layers: each limit of survey section 3.3 by a small net, and the real nets by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from caffecompat.deploy.targets.check import TargetReport, check_net, detection_warnings, normalization_warnings
from caffecompat.deploy.targets.table import load_table
from caffecompat.schema import NetDocument, open_net, parse_text, pb

TUTORIAL = "real/vitis-tutorial-05-seg/model"
JACINTO = "real/jacinto-models"


def document(text: str, channels: int = 16, size: int = 32) -> NetDocument:
    head = (
        f'layer {{ name: "data" type: "Input" top: "data"'
        f" input_param {{ shape {{ dim: 1 dim: {channels} dim: {size} dim: {size} }} }} }}\n"
    )
    return NetDocument.from_message(parse_text(head + text, pb.NetParameter()))


def layer(kind: str, more: str = "", bottoms: str = 'bottom: "data"') -> str:
    return f'layer {{ name: "x" type: "{kind}" {bottoms} top: "x" {more} }}'


def judge(text: str, target: str, version: str | None = None, **sizes: int) -> tuple[str, str]:
    """The verdict on layer x and the first reason."""
    report = check_net(document(text, **sizes), load_table(target, version))
    (found,) = [one for one in report.layers if one.name == "x"]
    return found.verdict, found.judgment.reasons[0][0]


def conv(fields: str, kind: str = "Convolution") -> str:
    return layer(kind, f"convolution_param {{ {fields} }}")


@pytest.mark.parametrize(
    ("fields", "sizes", "dpu", "tidl"),
    [
        ("num_output: 8 kernel_size: 3 pad: 1", {}, "runs", "runs"),
        ("num_output: 8 kernel_size: 16", {}, "runs", "runs"),
        ("num_output: 8 kernel_size: 17", {}, "cpu", "runs"),  # DPU: 1 to 16
        ("num_output: 8 kernel_size: 9 stride: 9", {}, "cpu", "runs"),  # DPU: stride at most 8
        ("num_output: 8 kernel_size: 1 pad: 1", {}, "cpu", "runs"),  # DPU: pad at most (k - 1) x dilation
        ("num_output: 8 kernel_size: 3 pad: 2 dilation: 2 stride: 2", {}, "runs", "cpu"),  # TIDL: with stride 1
        ("num_output: 8 kernel_size: 3 stride_h: 1 stride_w: 2", {}, "runs", "cpu"),
        ("num_output: 8 kernel_size: 2 stride: 2", {}, "runs", "cpu"),  # TIDL: no even kernel with stride 2
        ("num_output: 8 kernel_size: 9 stride: 2", {}, "runs", "cpu"),  # TIDL: over 7 with stride 2
        ("num_output: 8 kernel_size: 11 stride: 4", {}, "runs", "runs"),
        ("num_output: 8 kernel_size: 7 stride: 4", {}, "runs", "cpu"),  # TIDL: stride 4 with 11x11 only
        ("num_output: 8 kernel_size: 15", {"channels": 160}, "cpu", "runs"),  # 15 x 15 x 10 > 2048
        ("num_output: 4097 kernel_size: 1", {}, "cpu", "runs"),
        ("num_output: 16 kernel_size: 3 dilation: 16 pad: 16", {"channels": 272}, "cpu", "runs"),  # 16 x 272 > 4096
        ("num_output: 16 kernel_size: 3 group: 16", {}, "runs", "runs"),
        ("num_output: 16 kernel_size: 3 stride: 3 group: 16", {}, "runs", "cpu"),  # TIDL: depthwise by 1 or 2
        ("num_output: 16 kernel_size: 3 pad: 1 group: 4", {}, "rewritten", "runs"),
    ],
)
def test_convolutions(fields: str, sizes: dict[str, int], dpu: str, tidl: str) -> None:
    assert (judge(conv(fields), "dpu", **sizes)[0], judge(conv(fields), "tidl", **sizes)[0]) == (dpu, tidl)


@pytest.mark.parametrize(
    ("fields", "dpu", "tidl", "tvm"),
    [
        ("num_output: 8 kernel_size: 2 stride: 2", "runs", "runs", "runs"),
        ("num_output: 8 kernel_size: 4 stride: 2 pad: 1", "runs", "runs", "runs"),
        ("num_output: 8 kernel_size: 3 stride: 2 pad: 1", "runs", "cpu", "runs"),
        ("num_output: 8 kernel_size: 4 stride: 4", "runs", "cpu", "cpu"),
        ("num_output: 8 kernel_size: 2 stride: 4", "cpu", "cpu", "cpu"),  # floor(2 / 4) is 0
        ("num_output: 16 kernel_size: 4 stride: 2 pad: 1 group: 16", "runs", "cpu", "cpu"),
        ("num_output: 16 kernel_size: 4 stride: 2 pad: 1 group: 4", "rewritten", "cpu", "cpu"),
        ("num_output: 8 kernel_size: 4 stride: 2 pad: 1 dilation: 2", "cpu", "cpu", "cpu"),
    ],
)
def test_deconvolutions(fields: str, dpu: str, tidl: str, tvm: str) -> None:
    text = conv(fields, "Deconvolution")
    assert [judge(text, *target)[0] for target in (("dpu",), ("tidl",), ("tidl", "tvm"))] == [dpu, tidl, tvm]


@pytest.mark.parametrize(
    ("factor", "dpu", "tidl"), [(2, "rewritten", "rewritten"), (4, "rewritten", "rewritten"), (8, "runs", "rewritten")]
)
def test_bilinear_deconvolutions(factor: int, dpu: str, tidl: str) -> None:
    kernel, pad = 2 * factor, factor // 2
    fields = (
        f"num_output: 16 group: 16 kernel_size: {kernel} stride: {factor} pad: {pad}"
        ' bias_term: false weight_filler { type: "bilinear" }'
    )
    text = conv(fields, "Deconvolution")
    assert (judge(text, "dpu")[0], judge(text, "tidl")[0]) == (dpu, tidl)
    learning = text.replace('top: "x"', 'top: "x" param { lr_mult: 1 }')
    loss = 'layer { name: "l" type: "EuclideanLoss" bottom: "x" bottom: "x" top: "l" }'
    frozen = learning.replace("lr_mult: 1", "lr_mult: 0")
    assert judge(frozen + loss, "tidl")[0] == "rewritten"
    verdict, reason = judge(learning + loss, "tidl")
    assert verdict == "cpu" and "freeze it (lr_mult: 0)" in reason


@pytest.mark.parametrize(
    ("fields", "size", "dpu", "old", "tidl"),
    [
        ("kernel_size: 2 stride: 2", 32, "runs", "runs", "runs"),
        ("kernel_size: 3 stride: 2", 32, "rewritten", "rewritten", "rewritten"),  # rounded up
        ("kernel_size: 3 stride: 2", 33, "runs", "runs", "runs"),
        ("kernel_size: 3 stride: 1 pad: 1", 32, "runs", "runs", "runs"),
        ("kernel_size: 9 stride: 1", 32, "runs", "cpu", "cpu"),  # ISA0: at most 8
        ("kernel_size: 4 stride: 4", 32, "runs", "runs", "cpu"),  # TIDL: 1, 2 or 3
        ("kernel_h: 3 kernel_w: 2 stride: 1 pool: AVE", 32, "runs", "cpu", "cpu"),
        ("pool: AVE global_pooling: true", 32, "runs", "cpu", "runs"),
        ("pool: AVE global_pooling: true", 33, "runs", "cpu", "rewritten"),  # TIDL: planes over 1024 as MatMul
        ("pool: STOCHASTIC kernel_size: 2 stride: 2", 32, "cpu", "cpu", "cpu"),
    ],
)
def test_pooling(fields: str, size: int, dpu: str, old: str, tidl: str) -> None:
    text = layer("Pooling", f"pooling_param {{ {fields} }}")
    found = [judge(text, *target, size=size)[0] for target in (("dpu",), ("dpu", "1.4"), ("tidl",))]
    assert found == [dpu, old, tidl]


def test_pooling_that_reaches_past_the_edge_tells_how_far() -> None:
    text = layer("Pooling", "pooling_param { kernel_size: 3 stride: 2 }")
    assert "windows reach 1x1 past the edge" in judge(text, "dpu")[1]


@pytest.mark.parametrize(
    ("kind", "more", "dpu", "tidl"),
    [
        ("ReLU", "relu_param { negative_slope: 0.1015625 }", "cpu", "runs"),  # nothing to fuse with
        ("ReLU", "relu_param { negative_slope: 0.1 }", "cpu", "runs"),
        ("ReLU", "", "cpu", "runs"),  # nothing to fuse with
        ("Interp", "interp_param { zoom_factor: 2 }", "refused", "refused"),
        ("DeephiResize", "deephi_resize_param { scale_h: 2 scale_w: 2 resize_type: NEAREST }", "runs", "runs"),
        ("DeephiResize", "deephi_resize_param { scale_h: 1.5 scale_w: 1.5 resize_type: NEAREST }", "cpu", "cpu"),
        ("DeephiResize", "deephi_resize_param { scale_h: 3 scale_w: 3 resize_type: NEAREST }", "runs", "cpu"),
        ("DeephiResize", "deephi_resize_param { scale_h: 2 scale_w: 2 resize_type: BILINEAR }", "rewritten", "runs"),
        ("DeephiResize", "deephi_resize_param { scale_h: 8 scale_w: 8 resize_type: BILINEAR }", "cpu", "runs"),
        ("Upsample", "upsample_param { scale: 2 }", "runs", "runs"),
        ("Upsample", "upsample_param { scale: 3 }", "runs", "cpu"),
        ("DropPath", "drop_path_param { drop_prob: 0.3 }", "left out", "left out"),
        ("Dropout", "", "left out", "left out"),
        ("Dropout", "dropout_param { scale_train: false }", "cpu", "rewritten"),
        ("ArgMax", "argmax_param { axis: 1 }", "cpu", "runs"),
        ("ArgMax", "argmax_param { axis: 2 }", "cpu", "cpu"),
        ("ArgMax", "argmax_param { axis: 1 top_k: 2 }", "cpu", "cpu"),
        ("ArgMax", "", "cpu", "cpu"),
        ("Softmax", "", "cpu", "rewritten"),
        ("Softmax", "softmax_param { axis: 3 }", "cpu", "runs"),
        ("LRN", "", "cpu", "cpu"),
        ("PReLU", "", "cpu", "runs"),
        ("Sigmoid", "", "cpu", "runs"),
        ("InnerProduct", "inner_product_param { num_output: 5 }", "cpu", "runs"),  # a 32x32 kernel
        ("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", "cpu", "runs"),
        ("Transpose", "transpose_param { dim: 0 dim: 2 dim: 3 dim: 1 }", "cpu", "runs"),
    ],
)
def test_other_layers(kind: str, more: str, dpu: str, tidl: str) -> None:
    assert (judge(layer(kind, more), "dpu")[0], judge(layer(kind, more), "tidl")[0]) == (dpu, tidl)


DENSE = 'layer { name: "c" type: "%s" bottom: "data" top: "c" convolution_param { num_output: 16 kernel_size: 3 %s } }'
NORM = 'layer { name: "n" type: "BatchNorm" bottom: "c" top: "c" }'
SCALE = 'layer { name: "s" type: "Scale" bottom: "c" top: "s" scale_param { bias_term: true } }'
OTHER = 'layer { name: "o" type: "TanH" bottom: "c" top: "o" }'
JOIN = (
    DENSE % ("Convolution", "")
    + (DENSE % ("Convolution", "group: %d")).replace('"c"', '"d"')
    + 'layer { name: "j" type: "Concat" bottom: "%s" bottom: "d" top: "j" }'
)
BEFORE = {  # what is before an activation, the blob that it reads -> verdicts on LeakyReLU, ReLU, ReLU6; ReLU6 by 1.4
    "convolution": (DENSE % ("Convolution", ""), "c", ("runs", "runs", "runs", "runs")),
    "in groups": (DENSE % ("Convolution", "group: 4"), "c", ("runs", "runs", "runs", "runs")),  # an activation a slice
    "depthwise": (DENSE % ("Convolution", "group: 16"), "c", ("cpu", "runs", "runs", "runs")),
    "transposed": (DENSE % ("Deconvolution", ""), "c", ("runs", "runs", "runs", "runs")),
    "depthwise transposed": (DENSE % ("Deconvolution", "group: 16"), "c", ("cpu", "runs", "runs", "runs")),
    "folded": (DENSE % ("Convolution", "") + NORM + SCALE, "s", ("runs", "runs", "runs", "runs")),
    "folded into a depthwise one": (DENSE % ("Convolution", "group: 16") + NORM + SCALE, "s",
                                    ("cpu", "runs", "runs", "runs")),
    "not folded": (DENSE % ("Convolution", "") + SCALE + OTHER, "s", ("cpu", "runs", "runs", "runs")),
    "a normalization alone": (NORM.replace('"c"', '"data"'), "data", ("cpu", "runs", "runs", "runs")),
    "eltwise": (layer("Eltwise", "", 'bottom: "data" bottom: "data"').replace('"x"', '"e"'), "e",
                ("cpu", "runs", "cpu", "cpu")),
    "eltwise and a normalization": (layer("Eltwise", "", 'bottom: "data" bottom: "data"').replace('"x"', '"c"') + NORM,
                                    "c", ("cpu", "runs", "runs", "runs")),
    "pooling": (layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }").replace('"x"', '"p"'), "p",
                ("cpu", "runs", "runs", "cpu")),
    "a join of convolutions": (JOIN % (1, "c"), "j", ("rewritten",) * 4),
    "a join of depthwise ones, too": (JOIN % (16, "c"), "j", ("cpu", "rewritten", "rewritten", "rewritten")),
    "a join of groups, too": (JOIN % (4, "c"), "j", ("cpu", "cpu", "cpu", "cpu")),
    "a join of something else": (JOIN % (1, "data"), "j", ("cpu", "cpu", "cpu", "cpu")),
    "a join that others read": (JOIN % (1, "c") + OTHER, "j", ("cpu", "cpu", "cpu", "cpu")),
    "nothing": ("", "data", ("cpu", "cpu", "cpu", "cpu")),
}  # fmt: skip


@pytest.mark.parametrize("place", [" in place", ""])
@pytest.mark.parametrize("before", BEFORE)
def test_activations_by_what_is_before_them(before: str, place: str) -> None:
    text, blob, verdicts = BEFORE[before]
    if '"data" bottom: "d"' in text:
        text = text.replace("kernel_size: 3", "kernel_size: 1")
    top = blob if place and blob != "data" else "x"

    def found(kind: str, more: str, version: str = "3.5") -> str:
        last = f'layer {{ name: "x" type: "{kind}" bottom: "{blob}" top: "{top}" {more} }}'
        return judge(text + last, "dpu", version)[0]

    leaky = "relu_param { negative_slope: 0.1015625 }"
    assert (found("ReLU", leaky), found("ReLU", ""), found("ReLU6", ""), found("ReLU6", "", "1.4")) == verdicts
    assert (found("ReLU", leaky, "1.4"), found("ReLU", "", "1.4")) == verdicts[:2]
    assert found("ReLU", "relu_param { negative_slope: 0.1 }") == "cpu"
    assert found("PReLU", "") == "cpu"


def test_why_a_leaky_relu_falls_to_the_cpu() -> None:
    leaky = layer("ReLU", "relu_param { negative_slope: 0.1015625 }", 'bottom: "c"')
    depthwise = DENSE % ("Convolution", "group: 16") + leaky
    assert "has ReLU and ReLU6 alone (LeakyReLU there is a build option, ALU_LEAKYRELU)" in judge(depthwise, "dpu")[1]
    assert "build option" not in judge(depthwise, "dpu", "1.4")[1]
    eltwise = layer("Eltwise", "", 'bottom: "data" bottom: "data"').replace('"x"', '"c"') + leaky
    assert judge(eltwise, "dpu")[1] == "LeakyReLU after Eltwise: the engine of these has ReLU alone"


@pytest.mark.parametrize(
    ("kind", "more", "dpu", "old", "tidl"),
    [
        ("Eltwise", "", "runs", "runs", "runs"),
        ("Eltwise", "eltwise_param { coeff: 1 coeff: -1 }", "rewritten", "rewritten", "rewritten"),
        ("Eltwise", "eltwise_param { operation: PROD }", "runs", "cpu", "runs"),  # ISA0 only adds
        ("Eltwise", "eltwise_param { operation: MAX }", "cpu", "cpu", "runs"),
        ("Concat", "", "runs", "runs", "runs"),
        ("Concat", "concat_param { axis: 2 }", "cpu", "cpu", "runs"),
        ("Concat", "concat_param { axis: 0 }", "cpu", "cpu", "cpu"),
    ],
)
def test_layers_that_join(kind: str, more: str, dpu: str, old: str, tidl: str) -> None:
    text = layer(kind, more, 'bottom: "data" bottom: "data"')
    found = [judge(text, *target)[0] for target in (("dpu",), ("dpu", "1.4"), ("tidl",))]
    assert found == [dpu, old, tidl]


def test_what_batch_norm_becomes() -> None:
    first = conv("num_output: 4 kernel_size: 1").replace('"x"', '"c"')
    norm = layer("BatchNorm", bottoms='bottom: "c"')
    assert judge(first + norm, "dpu") == ("rewritten", "folded into the Convolution before it")
    assert "depthwise 1x1" in judge(layer("BatchNorm"), "dpu")[1]
    other = 'layer { name: "o" type: "TanH" bottom: "c" top: "o" }'
    assert "feeds other layers too" in judge(first + norm + other, "dpu")[1]


def test_softmax_in_front_of_argmax_goes() -> None:
    argmax = 'layer { name: "a" type: "ArgMax" bottom: "x" top: "a" argmax_param { axis: 1 } }'
    assert judge(layer("Softmax") + argmax, "tidl")[0] == "left out"


# ------------------------------------------------------------------------------------------------ real nets


def verdicts(report: TargetReport) -> dict[str, Counter]:
    found: dict[str, Counter] = {}
    for one in report.layers:
        found.setdefault(one.verdict, Counter())[one.type] += 1
    return found


NETS = {
    "espnet": f"{TUTORIAL}/espnet/train_val.prototxt",
    "enet": f"{TUTORIAL}/enet/train_val.prototxt",
    "fpn": f"{TUTORIAL}/FPN/train_val.prototxt",
    "unet-full": f"{TUTORIAL}/unet-full/train_val.prototxt",
    "unet-lite": f"{TUTORIAL}/unet-lite/deploy.prototxt",
    "jacintonet11": f"{JACINTO}/image_classification/imagenet_jacintonet11v2/test/deploy.prototxt",
    "jsegnet21": f"{JACINTO}/image_segmentation/cityscapes5_jsegnet21v2/test/deploy.prototxt",
    "jdetnet": f"{JACINTO}/object_detection/voc0712/JDetNet/ssd768x320_ds_PSP_dsFac_32_hdDS8_0/test_quantize/"
    "deploy.prototxt",
}
# What does not simply run, by type: read off the prototxts and the limits by hand.
DPU = {
    "espnet": {"rewritten": {"BatchNorm": 21, "Pooling": 3}},
    "enet": {"rewritten": {"BatchNorm": 88, "Pooling": 3, "Deconvolution": 2}},
    "fpn": {"rewritten": {"BatchNorm": 57, "Pooling": 4}},
    "unet-full": {"rewritten": {"BatchNorm": 5}},
    "unet-lite": {"rewritten": {"BatchNorm": 5}, "cpu": {"Softmax": 1}},
    "jacintonet11": {
        "rewritten": {"BatchNorm": 10, "Bias": 1, "Convolution": 5, "InnerProduct": 1}, "cpu": {"Softmax": 1}
    },
    "jsegnet21": {
        "rewritten": {"BatchNorm": 16, "Bias": 1, "Convolution": 7, "Deconvolution": 4}, "cpu": {"ArgMax": 1}
    },
    "jdetnet": {
        "rewritten": {"BatchNorm": 15, "Bias": 1, "Convolution": 5, "Pooling": 2},
        "cpu": {"Permute": 10, "Flatten": 11, "PriorBox": 5, "Concat": 3, "Reshape": 1, "Softmax": 1,
                "DetectionOutput": 1},
    },
}  # fmt: skip
TIDL = {
    "espnet": {"rewritten": {"BatchNorm": 4, "Pooling": 3}},
    "enet": {"rewritten": {"BatchNorm": 87, "Pooling": 3, "Deconvolution": 2}, "cpu": {"Convolution": 2}},
    "fpn": {"rewritten": {"BatchNorm": 57, "Pooling": 4}, "cpu": {"Deconvolution": 1}},
    "unet-full": {"rewritten": {"BatchNorm": 1}},
    "unet-lite": {"rewritten": {"BatchNorm": 1, "Softmax": 1}},
    "jacintonet11": {"rewritten": {"BatchNorm": 10, "Bias": 1}},
    "jsegnet21": {"rewritten": {"BatchNorm": 16, "Bias": 1, "Deconvolution": 4}},
    "jdetnet": {
        "rewritten": {"BatchNorm": 15, "Bias": 1, "Pooling": 2, "Permute": 10, "Flatten": 11, "PriorBox": 5,
                      "Concat": 3, "Reshape": 1, "Softmax": 1, "DetectionOutput": 1},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_real_nets(shared: Path, name: str) -> None:
    net = open_net(shared / NETS[name])
    for target, expected in (("dpu", DPU[name]), ("tidl", TIDL[name])):
        report = check_net(net, load_table(target))
        found = verdicts(report)
        assert {verdict: dict(found[verdict]) for verdict in found if verdict not in ("runs", "left out")} == expected
        assert {layer.name for layer in net.message.layer if layer.type != "Input"} <= {x.name for x in report.layers}
        assert all(source in report.table.documents for x in report.layers for _, source in x.judgment.reasons)


def test_the_layers_that_tidl_cannot(shared: Path) -> None:
    report = check_net(open_net(shared / NETS["enet"]), load_table("tidl"))
    assert [(x.name, x.judgment.reasons) for x in report.of("cpu")] == [
        (name, [("even kernel 2x2 with stride 2", "T5")]) for name in ("ConvNd_3", "ConvNd_19")
    ]
    report = check_net(open_net(shared / NETS["fpn"]), load_table("tidl"))
    assert [x.name for x in report.of("cpu")] == ["toplayer_p2"]  # 4x4 with stride 4


def test_jacintonet_on_the_older_dpu(shared: Path) -> None:
    report = check_net(open_net(shared / NETS["jacintonet11"]), load_table("dpu", "1.4"))
    assert [x.name for x in report.of("cpu")] == ["prob"]  # the last plane is 7x7: AVE windows are 2 to 8


def test_all_real_nets_get_a_verdict(shared: Path) -> None:
    """The tables ask for no fact that a real layer lacks."""
    folder = shared / "real"
    for path in ("bvlc/models/bvlc_googlenet/deploy.prototxt", "squeezenet/SqueezeNet_v1.1/deploy.prototxt",
                 "mtcnn/det3.prototxt", "ultraface/Slim-320/slim-320.prototxt", "wechat-sr/sr.prototxt",
                 "timosaemann-enet/prototxts/enet_deploy.prototxt", "bvlc/examples/cifar10/cifar10_full.prototxt",
                 "vitis-tutorial-14-ssd/workspace/VGG16-SSD/deploy.prototxt"):  # fmt: skip
        for target in ("dpu", "tidl"):
            assert check_net(open_net(folder / path), load_table(target)).layers


# ------------------------------------------------------------------------------------------------ normalization


def test_trained_one_way_tested_another(shared: Path) -> None:
    (enet,) = normalization_warnings(open_net(shared / NETS["enet"]))
    assert enet.startswith("88 BatchNorm layers (BatchNorm_1,") and "holds in TEST too" in enet
    (espnet,) = normalization_warnings(open_net(shared / NETS["espnet"]))
    assert espnet.startswith("21 BatchNorm layers") and "is not obeyed in TRAIN by Xilinx's Caffe" in espnet
    assert normalization_warnings(open_net(shared / NETS["jsegnet21"])) == []
    frozen = document(layer("BatchNorm", "batch_norm_param { use_global_stats: true }"))
    assert "stay as they were loaded" in normalization_warnings(frozen)[0]
    assert normalization_warnings(document(layer("BatchNorm"))) == []


def test_a_detector_without_its_last_layer_is_told() -> None:
    loss = 'layer { name: "loss" type: "MultiBoxLoss" bottom: "a" bottom: "b" bottom: "c" bottom: "d" top: "loss" }'
    (warning,) = detection_warnings(document(loss))
    assert "no DetectionOutput" in warning and "check the deploy prototxt" in warning
    assert detection_warnings(document(loss + layer("DetectionOutput"))) == []
