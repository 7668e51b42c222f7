"""Blocks that come several times in a row."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.report.net_blocks import find_repeats, make_units
from caffecompat.schema import parse_text, pb, read_net

ROOT = Path(__file__).resolve().parents[2]


def _conv(name: str, bottom: str, kernel: int = 3, outputs: int = 8) -> str:
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
        f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} pad: {kernel // 2} }} }} "
        f'layer {{ name: "{name}_relu" type: "ReLU" bottom: "{name}" top: "{name}" }} '
    )


def _add(name: str, *bottoms: str) -> str:
    reads = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "{name}" type: "Eltwise" {reads} top: "{name}" }} '


def _residual(count: int, kernels: tuple[int, ...] = (3, 3)) -> str:
    text, before = _conv("start", "data", 7), "start"
    for block in range(count):
        bottom = before
        for at, kernel in enumerate(kernels):
            text += _conv(f"b{block}_{at}", bottom, kernel)
            bottom = f"b{block}_{at}"
        text += _add(f"add{block}", before, bottom)
        before = f"add{block}"
    return text + _conv("end", before, 1)


def _found(text: str) -> list[tuple[str, str, int]]:
    layers = parse_text(text, pb.NetParameter()).layer
    units = make_units(layers)
    return [
        (layers[units[r.start].layers[0]].name, layers[units[r.start + r.length - 1].layers[0]].name, r.count)
        for r in find_repeats(layers, units)
    ]


@pytest.mark.parametrize("count", [2, 3, 9])
def test_residual_blocks_begin_after_the_addition(count: int) -> None:
    assert _found(_residual(count)) == [("b0_0", "add0", count)]


def test_blocks_differ_by_kernels_and_by_connections_not_by_outputs() -> None:
    text = _residual(3)
    third = (
        'name: "b2_1" type: "Convolution" bottom: "b2_0" top: "b2_1" convolution_param { num_output: 8 kernel_size: '
    )
    assert third in text
    assert _found(text.replace(f"{third}3 pad: 1", f"{third}5 pad: 2")) == [("b0_0", "add0", 2)]
    assert _found(text.replace('bottom: "add1" bottom: "b2_1" top', 'bottom: "b2_1" bottom: "add1" top')) == [
        ("b0_0", "add0", 2)
    ]
    assert _found(text.replace(third, third.replace("num_output: 8", "num_output: 16"))) == [("b0_0", "add0", 3)]


def test_nothing_repeats() -> None:
    assert _found(_conv("a", "data", 3) + _conv("b", "a", 5) + _conv("c", "b", 7)) == []
    assert _found("") == []


def test_layers_join_the_unit_whose_value_they_alone_read() -> None:
    text = _conv("a", "data") + _add("b", "a", "a") + 'layer { name: "late" type: "ReLU" bottom: "b" top: "b" }'
    text += _add("c", "b", "a")
    layers = parse_text(text, pb.NetParameter()).layer
    assert [unit.layers for unit in make_units(layers)] == [[0, 1], [2, 3], [4]]
    # The ReLU's input is also read by another layer: it is a box of its own.
    layers = parse_text(_add("a", "x", "x") + _add("b", "a", "a") + _add("a2", "a"), pb.NetParameter()).layer
    assert [unit.layers for unit in make_units(layers, lambda layer: True)] == [[0], [1], [2]]


def test_published_nets() -> None:
    layers = read_net(ROOT / "models/espnet/deploy.prototxt").layer
    units = make_units(layers)
    assert [(r.count, r.length) for r in find_repeats(layers, units)][1] == (8, 12)
    layers = read_net(ROOT / "models/resnet101/deploy.prototxt").layer
    assert max(repeat.count for repeat in find_repeats(layers, make_units(layers))) == 22
