"""Folding: every fork's batch normalization into every weighted layer, numbers unchanged."""

from __future__ import annotations

import re

import pytest
import torch

from caffecompat.deploy.fold_norm import fold_norms
from caffecompat.deploy.same_numbers import TOLERANCE, compare_nets, put_blobs
from caffecompat.net import Net
from caffecompat.schema import NetDocument, parse_text, pb

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


def _net(text: str) -> Net:
    message = pb.NetParameter()
    parse_text(text, message)
    net = Net(NetDocument.from_message(message), pb.TEST, log=False)
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
    put_blobs(other, folded.blobs)
    assert all(difference.relative <= TOLERANCE for difference in compare_nets(net, other))


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
        (BVLC.replace('"x"', '"data"'), "stands behind 'data' \\(Input\\), which has no weights"),
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


def test_shared_weights_stay() -> None:
    twice = CONV.replace("convolution_param", 'param { name: "both" } convolution_param')
    text = twice + twice.replace('"w"', '"v"').replace('"x"', '"z"') + BVLC
    folded = fold_norms(_net(INPUT + text))
    assert "shared" in folded.left[0][1] and len(folded.message.layer) == 5


def test_statistics_of_the_batch_fold_when_asked() -> None:
    text = INPUT + CONV + BY_BATCH
    folded = fold_norms(_net(text), running_statistics=True)
    assert [layer.name for layer in folded.message.layer] == ["data", "w"]
