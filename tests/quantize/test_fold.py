"""Folded nets compute what they computed before, whatever is around a normalization; and the original's accidents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat.net import Net
from caffecompat.quantize.calibrate import quantized_net
from caffecompat.quantize.quantizer import folded_net
from caffecompat.quantize.settings import QuantizeSettings
from caffecompat.schema import NetDocument, open_net, pb
from tests.quantize.small_nets import conv, in_place, layer, pool, write_net

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [2, 3, 8, 8] } } }\n'
GLOBAL = "batch_norm_param { use_global_stats: true eps: 0.01 }"
AFFINE = "scale_param { bias_term: true }"


def norm(name: str, bottom: str, top: str = "", kind: str = "BatchNorm") -> str:
    return layer(kind, name, bottom, top or bottom, GLOBAL if kind == "BatchNorm" else "bn_param { eps: 0.02 }")


CASES: dict[str, tuple[list[str], str]] = {
    "without a Scale": ([conv("c", "data", 4), norm("n", "c")], "c"),
    "with a Scale": ([conv("c", "data", 4), norm("n", "c", "m"), layer("Scale", "s", "m", "", AFFINE)], "c"),
    "with a Scale without bias": (
        [conv("c", "data", 4, "bias_term: false"), norm("n", "c"), in_place("Scale", "s", "c")],
        "c",
    ),
    "of four blobs": ([conv("c", "data", 4), norm("n", "c", "m", "BN")], "c"),
    "of two blobs": ([conv("c", "data", 4), layer("BN", "n", "c", "m", "bn_param { bn_mode: INFERENCE }")], "c"),
    "in groups": ([conv("c", "data", 6, "group: 3"), norm("n", "c")], "c"),
    "dilated": ([conv("c", "data", 4, "dilation: 2 pad: 2"), norm("n", "c"), in_place("ReLU", "r", "c")], "c"),
    "after a ReLU, before nothing": ([conv("c", "data", 4), in_place("ReLU", "r", "c"), norm("n", "c", "m")], "c n"),
    "after a PReLU": ([conv("c", "data", 4), in_place("PReLU", "r", "c"), norm("n", "c", "m")], "c r n"),
    "after a Sigmoid": ([conv("c", "data", 4), in_place("Sigmoid", "r", "c"), norm("n", "c", "m")], "c n"),
    "after a Dropout": ([conv("c", "data", 4), layer("Dropout", "d", "c"), norm("n", "d", "m")], "c"),
    "of what two read": ([conv("c", "data", 4), norm("n", "c", "m"), layer("Eltwise", "e", "c m")], "c n"),
    "before a convolution": ([norm("n", "data", "m"), conv("c", "m", 4)], "c"),
    "before one in groups": ([norm("n", "data", "m"), conv("c", "m", 6, "group: 3 bias_term: false")], "c"),
    "before one with pad": ([norm("n", "data", "m"), conv("c", "m", 4, "pad: 1")], "n c"),
    "before a Sigmoid and a convolution": (
        [norm("n", "data", "m"), in_place("Sigmoid", "g", "m"), conv("c", "m", 4)],
        "n c",
    ),
    "before and after a convolution": ([norm("n", "data", "m"), conv("c", "m", 4), norm("o", "c")], "c"),
    "before a convolution that comes later": (
        [norm("n", "data", "m"), conv("a", "data", 4), conv("c", "m", 4), layer("Eltwise", "e", "a c")],
        "c a",
    ),
    "of a concat of concats": (
        [
            conv("a", "data", 2),
            conv("b", "data", 2),
            layer("Concat", "k", "a b"),
            layer("Concat", "l", "k a"),
            norm("n", "l"),
        ],
        "a b n",
    ),
    "of a deconvolution": ([conv("c", "data", 4, "stride: 2 bias_term: false", "Deconvolution"), norm("n", "c")], "c"),
    "of one in groups": ([conv("c", "data", 6, "group: 3", "Deconvolution"), norm("n", "c")], "c"),
    "of one in depth": ([conv("c", "data", 3, "group: 3 bias_term: false", "Deconvolution"), norm("n", "c")], "c"),
    "of an inner product": (
        [layer("InnerProduct", "c", "data", "", "inner_product_param { num_output: 5 }"), norm("n", "c")],
        "c",
    ),
    "of one that is transposed": (
        [
            layer("InnerProduct", "c", "data", "", "inner_product_param { num_output: 5 transpose: true }"),
            norm("n", "c"),
        ],
        "c",
    ),
    "of one after a ReLU": (
        [
            layer("InnerProduct", "c", "data", "", "inner_product_param { num_output: 5 }"),
            in_place("ReLU", "r", "c"),
            norm("n", "c", "m"),
        ],
        "c n",
    ),
    "after a pooling": ([conv("c", "data", 4), pool("p", "c", "pool: AVE kernel_size: 2"), norm("n", "p")], "c n"),
    "twice": ([conv("c", "data", 4), norm("n", "c", "m"), norm("o", "m", "q"), in_place("ReLU", "r", "q")], "c o"),
    "what follows a Dropout in place": (
        [conv("c", "data", 4), layer("Dropout", "d", "c"), in_place("ReLU", "r", "d"), conv("e", "d", 2)],
        "c e",
    ),
    "what follows a Dropout in place, where the value before counts": (
        [conv("c", "data", 4), layer("Dropout", "d", "c"), in_place("ReLU", "r", "d"), layer("Eltwise", "e", "c d")],
        "c",
    ),
    "Splits": (
        [
            conv("c", "data", 4),
            layer("Split", "s", "c", "a b"),
            in_place("ReLU", "r", "a"),
            layer("Eltwise", "e", "a b"),
        ],
        "c",
    ),
}


def _outputs(net: Net) -> list[np.ndarray]:
    values = np.random.default_rng(1).normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    net.eval()
    return [np.asarray(value.detach()) for value in net({"data": values}).values()]


@pytest.mark.parametrize("case", CASES)
def test_the_same_values(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layers, parameters = CASES[case]
    write_net(DATA + "".join(layers))
    document = open_net("net.prototxt")
    plain = Net(document, pb.TEST, log=False, weights="net.caffemodel")
    folded, _ = folded_net(document, "net.caffemodel", QuantizeSettings())
    assert not [one.type for one in folded.message.layer if one.type in ("BatchNorm", "BN", "Dropout", "Split")]
    assert list(folded.blobs) == list(dict.fromkeys(folded.blobs)) and set(folded.blobs) == set(parameters.split())
    in_order = [one.name for one in folded.message.layer if one.name in folded.blobs]
    assert in_order == parameters.split()
    made = NetDocument.from_message(folded.message, like=document.fork_choice)
    net = quantized_net(made, folded.blobs, "cpu", pb.TEST)
    for got, wanted in zip(_outputs(net), _outputs(plain), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


ACCIDENTS = {
    "after a PReLU": "'r' (PReLU) is between them",
    "before a Sigmoid and a convolution": "'g' (Sigmoid) is between them",
    "of one after a ReLU": "'r' (ReLU) is between them",
    "before one in groups": "a convolution in 3 groups after a batch normalization",
    "of one in depth": "a deconvolution in 3 groups",
}


@pytest.mark.parametrize("case", ACCIDENTS)
def test_as_the_original(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it computes wrongly is repeated when asked for; a line says so either way."""
    monkeypatch.chdir(tmp_path)
    write_net(DATA + "".join(CASES[case][0]))
    weights = {}
    for as_original, ends in ((True, "so does this"), (False, ("here they stay two", "here each has its own"))):
        settings = QuantizeSettings(as_original=as_original)
        folded, _ = folded_net(open_net("net.prototxt"), "net.caffemodel", settings)
        (note,) = folded.notes
        assert ACCIDENTS[case] in note and note.endswith(ends)
        weights[as_original] = folded.blobs["c"][0]
    assert not np.allclose(weights[True], weights[False])
    if case == "before one in groups":
        norm_blobs = _blobs()["n"]
        variance = norm_blobs[1] / norm_blobs[2]
        kernels = _blobs()["c"][0]
        np.testing.assert_allclose(weights[True], kernels / np.sqrt(variance[0] + 0.01), rtol=1e-5)
        own = np.repeat(variance, 2).reshape(6, 1, 1, 1)
        np.testing.assert_allclose(weights[False], kernels / np.sqrt(own + 0.01), rtol=1e-5)


def _blobs() -> dict[str, list[np.ndarray]]:
    net = Net("net.prototxt", pb.TRAIN, log=False, weights="net.caffemodel")
    return net.blobs_by_layer()
