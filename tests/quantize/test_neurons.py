"""Where neurons are placed in small nets, by hand from the rules of the Xilinx quantizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caffecompat.quantize.neurons import place_neurons
from caffecompat.quantize.settings import QuantizeError, QuantizeSettings, parse_special_layers, read_ignored_layers
from caffecompat.schema import parse_text, pb


def _conv(name: str, bottom: str, more: str = "") -> str:
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
        f"convolution_param {{ num_output: 4 kernel_size: 1 {more} }} }}"
    )


def _layer(kind: str, name: str, bottoms: str, top: str = "", more: str = "") -> str:
    reads = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {reads} top: "{top or name}" {more} }}'


def _net(text: str) -> pb.NetParameter:
    net = pb.NetParameter()
    parse_text(text, net)
    return net


DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 4, 8, 8] } } }'
MAX = "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
AVE = "pooling_param { pool: AVE kernel_size: 2 stride: 2 }"


def _neurons(*layers: str, **settings: Any) -> dict[str, tuple[str, int, str]]:
    """Neuron -> (the layer before it, its bits, its method); the data's is checked and left out."""
    net = place_neurons(_net("\n".join((DATA, *layers))), QuantizeSettings(**settings))
    found, before = {}, ""
    for layer in net.layer:
        if layer.type == "FixedNeuron":
            method = layer.fixed_param.FixedMethod.Name(layer.fixed_param.fixed_method)
            found[layer.top[0]] = (before, layer.fixed_param.bit_width, method)
            assert layer.name == f"{layer.top[0]}_fixed" and layer.bottom == layer.top
        else:
            before = layer.name
    maker, _, method = found.pop("data")
    assert (maker, method) == ("data", "OVER_FLOW")
    return found


CASES: dict[str, tuple[list[str], dict[str, str]]] = {
    "a convolution alone": ([_conv("c", "data")], {"c": "c"}),
    "after the ReLU in place": ([_conv("c", "data"), _layer("ReLU", "r", "c", "c")], {"c": "r"}),
    "after a ReLU of its own top": ([_conv("c", "data"), _layer("ReLU", "r", "c")], {"r": "r"}),
    "ReLU6 counts where there is no ReLU": ([_conv("c", "data"), _layer("ReLU6", "r", "c", "c")], {"c": "r"}),
    "after the maximum pooling": (
        [_conv("c", "data"), _layer("ReLU", "r", "c", "c"), _layer("Pooling", "p", "c", "p", MAX)],
        {"p": "p"},
    ),
    "an average pooling has its own": (
        [_conv("c", "data"), _layer("ReLU", "r", "c", "c"), _layer("Pooling", "p", "c", "p", AVE)],
        {"c": "r", "p": "p"},
    ),
    "a top that two read": (
        [_conv("c", "data"), _conv("d", "c"), _conv("e", "c")],
        {"c": "c", "d": "d", "e": "e"},
    ),
    "only the Concat's": (
        [_conv("c", "data"), _conv("d", "c"), _conv("e", "d"), _layer("Concat", "k", "e d2"), _conv("d2", "k")],
        {"c": "c", "d": "d", "k": "k", "d2": "d2"},
    ),
    "a maximum pooling before a Concat": (
        [_conv("c", "data"), _layer("Pooling", "p", "c", "p", MAX), _layer("Concat", "k", "p")],
        {"k": "k"},
    ),
    "by way of Permute and Flatten to a Concat": (
        [_conv("c", "data"), _layer("Permute", "q", "c"), _layer("Flatten", "f", "q"), _layer("Concat", "k", "f")],
        {"k": "k"},
    ),
    "not by way of a ReLU, Permute and Flatten": (
        [
            _conv("c", "data"),
            _layer("ReLU", "r", "c", "c"),
            _layer("Permute", "q", "c"),
            _layer("Flatten", "f", "q"),
            _layer("Concat", "k", "f"),
        ],
        {"c": "r", "k": "k"},
    ),
    "a maximum pooling of the data has none": ([_layer("Pooling", "p", "data", "p", MAX), _conv("c", "p")], {"c": "c"}),
    "what is not computed in fixed point has none": (
        [_conv("c", "data"), _layer("Flatten", "f", "c"), _layer("Softmax", "s", "f")],
        {"c": "c"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_places(case: str) -> None:
    layers, wanted = CASES[case]
    assert {blob: maker for blob, (maker, _, _) in _neurons(*layers).items()} == wanted


CASES |= {
    "a blob has one neuron, the first": (
        [_conv("c", "data"), _layer("PReLU", "r", "c", "c"), _conv("d", "c")], {"c": "c", "d": "d"}),
    "two layers before one ReLU": (
        [_conv("c", "data"), _layer("Scale", "s", "c", "c"), _layer("ReLU", "r", "c", "c")], {"c": "r"}),
    "a Scale by another blob, over its bottom, is not in place": (
        [_conv("c", "data"), _conv("f", "data"), _layer("Scale", "s", "c f", "c"), _conv("d", "c")],
        {"c": "c", "f": "f", "d": "d"}),
    "the first of the poolings decides": (
        [_conv("c", "data"), _layer("PReLU", "r", "c", "c"), _layer("Pooling", "a", "c", "a", AVE),
         _layer("Pooling", "m", "c", "m", MAX)], {"c": "c", "a": "a"}),
    "a Concat of a Concat": (
        [_conv("c", "data"), _layer("Concat", "k", "c"), _layer("Concat", "l", "k"), _conv("d", "l")],
        {"k": "k", "l": "l", "d": "d"}),
    "a maximum pooling that two read, before a Concat": (
        [_conv("c", "data"), _layer("Pooling", "p", "c", "p", MAX), _conv("d", "p"), _layer("Concat", "k", "p d")],
        {"p": "p", "k": "k"}),
}  # fmt: skip


POOLED = [_conv("c", "data"), _layer("Pooling", "p", "c", "p", AVE), _layer("Concat", "k", "p")]


def test_an_average_pooling_before_a_concat() -> None:
    assert set(_neurons(*POOLED)) == {"c", "k"}
    assert set(_neurons(*POOLED, align_concat=False)) == {"c", "p", "k"}
    maximum = [_conv("c", "data"), _layer("Pooling", "p", "c", "p", MAX), _layer("Concat", "k", "p")]
    assert set(_neurons(*maximum, align_concat=False)) == {"k"}


CHAIN = [
    _conv("c", "data"),
    _layer("ReLU", "r", "c", "c"),
    _layer("Pooling", "p", "c", "p", MAX),
    _conv("d", "p"),
    _layer("Pooling", "a", "d", "a", AVE),
    _conv("e", "a"),
]


def test_special_layers() -> None:
    """Their bits go with the neuron to its place after the pooling; weights keep theirs unless given."""
    special = parse_special_layers("c,16,d,4,6,a,5", 8)
    assert special == {"c": (16, 8), "d": (4, 6), "a": (5, 8)}
    neurons = _neurons(*CHAIN, special_layers=special, weights_bits=7)
    assert {blob: bits for blob, (_, bits, _) in neurons.items()} == {"p": 16, "d": 4, "a": 5, "e": 8}
    net = place_neurons(_net("\n".join((DATA, *CHAIN))), QuantizeSettings(special_layers=special, weights_bits=7))
    bits = {layer.name: layer.fixed_param.bit_width for layer in net.layer if layer.type == "ConvolutionFixed"}
    assert bits == {"c": 8, "d": 6, "e": 7}


def test_sigmoided_layers_compare_so_only_right_after_the_layer() -> None:
    neurons = _neurons(*CHAIN, sigmoided_layers=["c", "d"])
    assert {blob: method for blob, (_, _, method) in neurons.items()} == {
        "p": "DIFF_S", "d": "DIFF_S_SIGMOID", "a": "DIFF_S", "e": "DIFF_S",
    }  # fmt: skip


def test_ignored_layers_stay_as_they_are() -> None:
    net = place_neurons(_net("\n".join((DATA, *CHAIN))), QuantizeSettings(ignore_layers=["d", "a"]))
    assert [(layer.name, layer.type) for layer in net.layer if "Fixed" in layer.type] == [
        ("data_fixed", "FixedNeuron"), ("c", "ConvolutionFixed"), ("p_fixed", "FixedNeuron"), ("e", "ConvolutionFixed"),
        ("e_fixed", "FixedNeuron"),
    ]  # fmt: skip


def test_a_deconvolution_in_groups() -> None:
    groups = _layer("Deconvolution", "u", "data", "u", "convolution_param { num_output: 4 group: %d kernel_size: 2 }")
    with pytest.raises(QuantizeError, match="'u': a Deconvolution in 2 groups"):
        _neurons(groups % 2)
    assert set(_neurons(groups % 4)) == {"u"}


def test_data_written_again_by_a_layer_in_place() -> None:
    """The neuron follows the last layer that writes the blob, which stays in floating point."""
    scaled = place_neurons(_net("\n".join((DATA, _layer("Scale", "s", "data", "data"), *CHAIN))), QuantizeSettings())
    assert [layer.name for layer in scaled.layer][:3] == ["data", "s", "data_fixed"]
    assert [layer.type for layer in scaled.layer].count("ScaleFixed") == 0


def test_what_an_ignored_layer_has_not() -> None:
    """Neither a layer's neuron after an ignored ReLU or pooling, nor the data's."""
    assert set(_neurons(*CHAIN, ignore_layers=["p"])) == {"d", "a", "e"}
    relu = [_conv("c", "data"), _layer("ReLU", "r", "c", "c"), _conv("d", "c")]
    assert set(_neurons(*relu, ignore_layers=["r"])) == {"d"}
    net = place_neurons(_net("\n".join((DATA, *relu))), QuantizeSettings(ignore_layers=["data"]))
    assert "data_fixed" not in [layer.name for layer in net.layer]


def test_bits_of_a_special_relu() -> None:
    relu = [_conv("c", "data"), _layer("ReLU", "r", "c", "c"), _layer("Concat", "k", "c2"), _conv("c2", "c")]
    assert _neurons(*relu, special_layers={"r": (12, 8), "k": (5, 8)})["c"][1] == 12
    assert _neurons(*relu, special_layers={"r": (12, 8), "c": (10, 8)})["c"][1] == 10


def test_where_a_sigmoid_counts() -> None:
    """After convolutions alone, under method 1; with method 3 after all, but not in a convolution's weights."""
    inner = _layer("InnerProduct", "i", "c")
    assert [m for _, _, m in _neurons(_conv("c", "data"), inner, sigmoided_layers=["c", "i"]).values()] == [
        "DIFF_S_SIGMOID", "DIFF_S",
    ]  # fmt: skip
    assert [m for _, _, m in _neurons(_conv("c", "data"), sigmoided_layers=["c"], method=0).values()] == ["OVER_FLOW"]
    net = place_neurons(_net("\n".join((DATA, _conv("c", "data")))), QuantizeSettings(method=3))
    methods = [layer.fixed_param.FixedMethod.Name(layer.fixed_param.fixed_method) for layer in net.layer[1:]]
    assert methods == ["OVER_FLOW", "DIFF_S", "DIFF_S_SIGMOID"]


def test_files_of_ignored_layers(tmp_path: Path) -> None:
    file = tmp_path / "layers.txt"
    for text in (
        'ignore_layer: "a/b"\nignore_layer: "c" # not d\n',
        "ignore_layer: 'a/b' ignore_layer: \"c\"",
        "a/b c",
        "a/b,\nc",
    ):
        file.write_text(text)
        assert read_ignored_layers(file) == ["a/b", "c"]
    file.write_text('a\nignore: "c"\n')
    with pytest.raises(QuantizeError, match=r"layers.txt:2: 'ignore: \"c\"' is neither ignore_layer"):
        read_ignored_layers(file)
