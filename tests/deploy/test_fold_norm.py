"""Folding: every fork's batch normalization into every weighted layer, numbers unchanged."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from caffecompat.compare.nets import TOLERANCE, compare_nets, load_blobs
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.deploy.fold_norm import fold_norms
from caffecompat.net import Net
from caffecompat.schema import NetDocument, open_net, pb
from tests.net.nets import make_net

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 dim: 7 dim: 6 } } }'
WEIGHTED = {
    "convolution": "Convolution convolution_param { num_output: 6 kernel_size: 3 bias_term: false %s }",
    "grouped": "Convolution convolution_param { num_output: 6 kernel_size: 3 group: 2 %s }",
    "depthwise": "Convolution convolution_param { num_output: 4 kernel_size: 3 group: 4 %s }",
    "deconvolution": "Deconvolution convolution_param { num_output: 6 kernel_size: 2 stride: 2 %s }",
    "grouped deconvolution": "Deconvolution convolution_param { num_output: 6 kernel_size: 2 group: 2 %s }",
    "depthwise deconvolution": (
        "Deconvolution convolution_param { num_output: 4 kernel_size: 4 stride: 2 group: 4 bias_term: false %s }"
    ),
    "inner product": "InnerProduct inner_product_param { num_output: 6 %s }",
    "transposed inner product": "InnerProduct inner_product_param { num_output: 6 transpose: true %s }",
}
FILLER = 'weight_filler { type: "gaussian" std: 0.3 }'
BVLC = (
    'layer { name: "norm" type: "BatchNorm" bottom: "x" top: "y" }'
    'layer { name: "scale" type: "Scale" bottom: "y" top: "y" scale_param { bias_term: true } }'
)
AFFINE = 'scale_filler { type: "constant" value: 1 } bias_filler { type: "constant" }'
NORMS = {
    "bvlc": BVLC,
    "bvlc alone": 'layer { name: "norm" type: "BatchNorm" bottom: "x" top: "y" }',
    "bvlc, Bias": BVLC + 'layer { name: "b" type: "Bias" bottom: "y" top: "y" }',
    "xilinx": f'layer {{ name: "norm" type: "BatchNorm" bottom: "x" top: "y" batch_norm_param {{ {AFFINE} }} }}',
    "jacinto": 'layer { name: "norm" type: "BatchNorm" bottom: "x" top: "y" batch_norm_param { scale_bias: true } }',
    "enet": 'layer { name: "norm" type: "BN" bottom: "x" top: "y" bn_param { bn_mode: INFERENCE } }',
    "pspnet": 'layer { name: "norm" type: "BN" bottom: "x" top: "y" bn_param { momentum: 0.9 } }',
}


CONVOLUTION = f"convolution_param {{ num_output: 6 kernel_size: 3 {FILLER} }}"


def _net(text: str) -> Net:
    net = make_net(text)
    torch.manual_seed(1)
    for layer in net.layers:
        for slot in layer.slots:
            tensor = slot.tensor()
            if slot.name == "factor":
                tensor.fill_(2.5)
            elif "Norm" in layer.type or layer.type in ("BN", "Scale", "Bias"):
                tensor.uniform_(0.2, 1.5)
    return net


def _check(net: Net, folded) -> None:
    other = Net(NetDocument.from_message(folded.message), pb.TEST, log=False)
    load_blobs(other, folded.blobs)
    assert all(difference.relative <= TOLERANCE for difference in compare_nets(net, other))


def test_layers_of_a_folded_layers_name_stay() -> None:
    """Caffe lets layers without parameters have any other's name."""
    text = f'{INPUT} layer {{ name: "w" type: "Convolution" bottom: "data" top: "x" {CONVOLUTION} }} {BVLC}'
    net = _net(f'{text} layer {{ name: "scale" type: "ReLU" bottom: "y" top: "y" }}')
    folded = fold_norms(net)
    assert [(layer.name, layer.type) for layer in folded.message.layer][-1] == ("scale", "ReLU")
    _check(net, folded)


@pytest.mark.parametrize("weighted", WEIGHTED)
@pytest.mark.parametrize("norm", NORMS)
def test_everything_folds_into_everything(weighted: str, norm: str) -> None:
    kind, settings = (WEIGHTED[weighted] % FILLER).split(" ", 1)
    if kind == "InnerProduct" and "BN" in NORMS[norm]:
        return  # BN takes (N, C, H, W) alone
    text = f'{INPUT} layer {{ name: "w" type: "{kind}" bottom: "data" top: "x" {settings} }} {NORMS[norm]}'
    text += ' layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }'
    net = _net(text)
    folded = fold_norms(net)
    assert [layer.name for layer in folded.message.layer] == ["data", "w", "relu"]
    assert not folded.left
    _check(net, folded)


CONV = (
    'layer { name: "w" type: "Convolution" bottom: "data" top: "x" '
    "convolution_param { num_output: 4 kernel_size: 1 %s } }" % FILLER
)
BY_BATCH = BVLC.replace('top: "y" }', 'top: "y" batch_norm_param { use_global_stats: false } }', 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BVLC.replace('"x"', '"data"'), "'data' \\(Input\\) before it has no weights"),
        (CONV + BVLC + 'layer { name: "r" type: "ReLU" bottom: "x" top: "r" }', "'r' also read"),
        (CONV + BY_BATCH, "by the batch"),
        (CONV + 'layer { name: "norm" type: "BN" bottom: "x" top: "y" }', "stores no statistics"),
        (CONV + 'layer { name: "s" type: "Scale" bottom: "x" top: "y" scale_param { axis: 2 } }', "a channel"),
    ],
)  # fmt: skip
def test_what_cannot_be_folded_is_named_and_stays(text: str, reason: str) -> None:
    net = _net(INPUT + text)
    folded = fold_norms(net)
    assert folded.left and re.search(reason, folded.left[0][1])
    _check(net, folded)


def _scaled_input(behind: str) -> str:
    """BatchNorm and Scale of the input, in front of a layer."""
    return INPUT + BVLC.replace('"x"', '"data"') + behind


AHEAD = {
    "convolution": "Convolution convolution_param { num_output: 6 kernel_size: 3 %s }",
    "without bias": "Convolution convolution_param { num_output: 6 kernel_size: 3 bias_term: false stride: 2 %s }",
    "grouped": "Convolution convolution_param { num_output: 6 kernel_size: 3 group: 2 %s }",
    "depthwise": "Convolution convolution_param { num_output: 4 kernel_size: 3 group: 4 bias_term: false %s }",
    "deconvolution 1x1": "Deconvolution convolution_param { num_output: 6 kernel_size: 1 group: 2 %s }",
    "inner product": "InnerProduct inner_product_param { num_output: 6 %s }",
    "transposed": "InnerProduct inner_product_param { num_output: 6 transpose: true bias_term: false %s }",
}


@pytest.mark.parametrize("case", AHEAD)
def test_what_has_nothing_before_it_folds_into_what_comes_behind(case: str) -> None:
    kind, settings = (AHEAD[case] % FILLER).split(" ", 1)
    net = _net(_scaled_input(f'layer {{ name: "w" type: "{kind}" bottom: "y" top: "z" {settings} }}'))
    folded = fold_norms(net, around=True)
    assert [layer.name for layer in folded.message.layer] == ["data", "w"]
    assert folded.ahead == {"norm", "scale"} and not folded.left
    _check(net, folded)
    assert [layer.name for layer in fold_norms(net).message.layer] == ["data", "norm", "scale", "w"]


def test_a_factor_alone_passes_the_pad() -> None:
    conv = CONV.replace('"data"', '"s"').replace("kernel_size: 1", "kernel_size: 3 pad: 1")
    net = _net(INPUT + 'layer { name: "s" type: "Scale" bottom: "data" top: "s" }' + conv)
    folded = fold_norms(net, around=True)
    assert [layer.name for layer in folded.message.layer] == ["data", "w"]
    _check(net, folded)


def test_in_place_in_front_and_several_readers() -> None:
    text = INPUT + BVLC.replace('"x"', '"data"').replace('"y"', '"data"')
    text += CONV + CONV.replace('"w"', '"v"').replace('"x"', '"z"')
    net = _net(text)
    folded = fold_norms(net, around=True)
    assert [layer.name for layer in folded.message.layer] == ["data", "w", "v"]
    assert folded.folded == [("scale", "w"), ("scale", "v"), ("norm", "w"), ("norm", "v")]
    _check(net, folded)


OTHER = CONV.replace('"w"', '"v"').replace('"x"', '"z"').replace("num_output: 4", "num_output: 3")
JOINED = CONV + OTHER + 'layer { name: "cat" type: "Concat" bottom: "x" bottom: "z" top: "c" }'
BEHIND = BVLC.replace('bottom: "x"', 'bottom: "c"')


@pytest.mark.parametrize("top", ["y", "c"], ids=["", "in place"])
def test_statistics_are_shared_out_among_what_a_concat_joins(top: str) -> None:
    inner = 'layer { name: "more" type: "Concat" bottom: "c" bottom: "d" top: "e" }'
    third = OTHER.replace('"v"', '"u"').replace('"z"', '"d"')
    text = INPUT + JOINED + third + inner + BVLC.replace('bottom: "x"', 'bottom: "e"').replace('"y"', f'"{top}2"')
    net = _net(text + f'layer {{ name: "relu" type: "ReLU" bottom: "{top}2" top: "out" }}')
    folded = fold_norms(net, around=True)
    assert [layer.name for layer in folded.message.layer] == ["data", "w", "v", "cat", "u", "more", "relu"]
    assert folded.folded == [(norm, taker) for norm in ("norm", "scale") for taker in ("w", "v", "u")]
    _check(net, folded)
    assert [name for name, _ in fold_norms(net).left] == ["norm", "scale"]


def test_in_place_behind_a_concat() -> None:
    net = _net(INPUT + JOINED + BEHIND.replace('"y"', '"c"') + 'layer { name: "t" type: "TanH" bottom: "c" top: "t" }')
    folded = fold_norms(net, around=True)
    assert [layer.name for layer in folded.message.layer] == ["data", "w", "v", "cat", "t"]
    _check(net, folded)


def test_what_makes_the_bottom_may_be_read_by_others_behind_the_normalization() -> None:
    text = INPUT + CONV + BVLC + 'layer { name: "r" type: "ReLU" bottom: "y" top: "r" }'
    net = _net(text + 'layer { name: "sum" type: "Eltwise" bottom: "y" bottom: "r" top: "sum" }')
    folded = fold_norms(net)
    assert [layer.name for layer in folded.message.layer] == ["data", "w", "r", "sum"]
    _check(net, folded)


RELU = 'layer { name: "r" type: "ReLU" bottom: "x" top: "r" }'
PADDED = CONV.replace('"data"', '"y"').replace("kernel_size: 1", "kernel_size: 3 pad: 1")
UP = PADDED.replace("Convolution", "Deconvolution").replace("pad: 1", "stride: 2")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BVLC.replace('"x"', '"data"') + PADDED, "'w' after it pads with zeros \\(pad 1\\).*border"),
        (BVLC.replace('"x"', '"data"') + UP, "'w' after it is a Deconvolution"),
        (BVLC.replace('"x"', '"data"'), "before it stays, too; what it makes is an output of the net"),
        (BVLC.replace('"x"', '"data"') + RELU.replace('"x"', '"y"'), "'r' \\(ReLU\\) after it has none"),
        (JOINED + BEHIND + RELU, "'cat' \\(Concat\\) before it joins 'x', which cannot.* part: 'r' also read"),
        (JOINED.replace('bottom: "z"', 'bottom: "data"') + BEHIND, "joins 'data', which .*: 'data' \\(Input\\)"),
        (JOINED.replace('bottom: "z"', 'bottom: "x"') + BEHIND, "also read"),
        (
            JOINED.replace("num_output: 3", "num_output: 4").replace('top: "c"', 'top: "c" concat_param { axis: 2 }')
            + BEHIND,
            "'cat' \\(Concat\\) before it joins along another axis",
        ),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_named(text: str, reason: str) -> None:
    net = _net(INPUT + text)
    folded = fold_norms(net, around=True)
    assert any(re.search(reason, text) for _, text in folded.left), folded.left
    _check(net, folded)


def test_shared_weights_behind_stay() -> None:
    conv = CONV.replace('"data"', '"y"').replace("convolution_param", 'param { name: "both" } convolution_param')
    text = _scaled_input(conv + conv.replace('"w"', '"v"').replace('"x"', '"z"').replace('bottom: "y"', 'bottom: "x"'))
    folded = fold_norms(_net(text), around=True)
    assert not folded.folded and "parameters of 'w' after it are shared" in dict(folded.left)["scale"]


def test_shared_weights_stay() -> None:
    twice = CONV.replace("convolution_param", 'param { name: "both" } convolution_param')
    text = twice + twice.replace('"w"', '"v"').replace('"x"', '"z"') + BVLC
    folded = fold_norms(_net(INPUT + text))
    assert "shared" in folded.left[0][1] and len(folded.message.layer) == 5


def test_statistics_of_the_batch_fold_when_asked() -> None:
    text = INPUT + CONV + BY_BATCH
    folded = fold_norms(_net(text), running_statistics=True)
    assert [layer.name for layer in folded.message.layer] == ["data", "w"]


def test_small_outputs_are_compared_by_their_own_size() -> None:
    first, second = _net(INPUT + CONV), _net(INPUT + CONV)
    tiny = [blob * 1e-6 for blob in first.blobs_by_layer()["w"]]
    load_blobs(first, {"w": tiny})
    load_blobs(second, {"w": [blob * 1.01 for blob in tiny]})
    (difference,) = compare_nets(first, second)
    assert 0.005 < difference.relative < 0.02


ARGMAX = 'layer { name: "best" type: "ArgMax" bottom: "x" top: "best" argmax_param { axis: 1 } }'


def test_a_choice_between_equals_is_no_difference() -> None:
    """Two channels of one weight: which is the greater, rounding decides."""
    first, second = _net(INPUT + CONV + ARGMAX), _net(INPUT + CONV + ARGMAX)
    blobs = {name: [blob.copy() for blob in own] for name, own in first.blobs_by_layer().items()}
    blobs["w"][0][1:] = blobs["w"][0][:1]
    blobs["w"][1][:] = 0
    load_blobs(first, blobs)
    blobs["w"][1][0] = 1e-6
    load_blobs(second, blobs)
    read, choice = compare_nets(first, second)
    assert (read.blob, read.chosen, choice.blob) == ("x, read by best", False, "best")
    assert choice.excused and choice.largest > 0.5 and choice.relative == 0
    blobs["w"][1][0] = 0.1
    load_blobs(second, blobs)
    assert min(difference.relative for difference in compare_nets(first, second)) > TOLERANCE


def test_a_net_of_16_bits_is_compared_in_32() -> None:
    net = _net(INPUT + "default_forward_type: FLOAT16 " + CONV + BVLC)
    assert net.half_precision
    _check(net, fold_norms(net))


REAL = {
    "JSegNet21": (
        "jacinto-models/image_segmentation/cityscapes5_jsegnet21v2/test/deploy",
        16,
        r"'conv1a' after it pads with zeros \(pad 2\)",
    ),
    "ENet": (
        "vitis-tutorial-05-seg/model/enet/deploy",
        0,
        "use_global_stats: false makes it normalize by the batch in TEST too",
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_published_nets(name: str, shared: Path, record_property: Callable[[str, object], None]) -> None:
    stem, count, reason = REAL[name]
    document = open_net(shared / "real" / f"{stem}.prototxt")
    copy = NetDocument.from_message(deploy_net(document, size=(64, 64), batch=1).message, like=document.fork_choice)
    torch.manual_seed(1)
    net = Net(copy, pb.TEST, log=False)
    for layer in net.layers:
        for slot in layer.slots:
            if layer.type == "BatchNorm":
                slot.tensor().uniform_(0.8, 1.2)
    folded = fold_norms(net, around=True)
    assert len({layer for layer, _ in folded.folded}) == count
    assert folded.left and all(re.search(reason, text) for _, text in folded.left)
    merged = NetDocument.from_message(folded.message, like=document.fork_choice)
    other = Net(merged, pb.TEST, log=False)
    load_blobs(other, folded.blobs)
    for difference in compare_nets(net, other):
        record_property("line of", ("merge-bn, random weights and input", f"{name}: {difference.line()}"))
        assert difference.relative <= TOLERANCE
