"""Nets of unusual size: shapes cost neither memory for weights nor time that grows faster than the net."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import caffecompat
from caffecompat.deploy.targets.check import check
from caffecompat.layers.fillers import filler_types
from caffecompat.net import Net
from caffecompat.net.problems import NetError
from tests.net.nets import INPUT, conv, layer, make_net, message

GREAT = layer("InnerProduct", "data", "great", "inner_product_param { num_output: 4000000000 bias_term: false }")
LONG = (
    'layer { name: "in" type: "Input" top: "x" top: "c" '
    "input_param { shape { dim: 1000000 dim: 2 dim: 4 } shape { dim: 1000000 dim: 2 } } }\n"
)


def _meta(text: str) -> Net:
    return Net(message(text), "TEST", log=False, meta=True)


def test_shapes_of_a_net_whose_weights_fit_no_memory(tmp_path: Path) -> None:
    """4e9 x 108 values are 1.7 TB; the verbs that need no values make none."""
    net = _meta(INPUT + GREAT)
    assert net.blob_shapes["great"] == (2, 4_000_000_000)
    assert all(parameter.is_meta for parameter in net.parameters())
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + GREAT)
    assert caffecompat.summarize(path).parameters == 4_000_000_000 * 108
    assert caffecompat.diff_nets(path, path) is not None
    assert check(path, "dpu").layers


def test_a_net_without_values_is_like_one_with_values() -> None:
    text = INPUT + conv("a", "data") + layer("BatchNorm", "a", "n") + layer("PReLU", "n", "p") + conv("b", "p")
    net, filled = _meta(text), make_net(text)
    assert net.value_shapes == filled.value_shapes
    assert {k: v.shape for k, v in net.state_dict().items()} == {k: v.shape for k, v in filled.state_dict().items()}
    net.to_empty(device="cpu")
    net.load_state_dict(filled.state_dict())
    data = torch.randn(2, 3, 6, 6)
    assert torch.equal(net(data)["b"], filled(data)["b"])


def _filled(filler: str) -> str:
    """A convolution of 3 to 3 channels whose square weight is filled so."""
    settings = f"num_output: 3 kernel_size: 3 weight_filler {{ {filler} }}"
    return INPUT + layer("Convolution", "data", "a", f"convolution_param {{ {settings} }}")


@pytest.mark.parametrize("kind", filler_types())
def test_fillers_are_checked_and_draw_nothing(kind: str) -> None:
    text = _filled(f'type: "{kind}"')
    state = torch.get_rng_state()
    assert _meta(text).layers[1].slots[0].parameter.is_meta
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "filler",
    ['type: "xaver"', 'type: "uniform" min: 2 max: 1', 'type: "constant" sparse: 3', 'type: "bilinear" sparse: 1'],
)
def test_wrong_fillers_are_errors_without_values_too(filler: str) -> None:
    text = _filled(filler)
    with pytest.raises(NetError) as filled:
        make_net(text)
    with pytest.raises(NetError) as empty:
        _meta(text)
    assert str(filled.value) == str(empty.value)


@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
@pytest.mark.parametrize("static", [False, True])
def test_shapes_of_a_long_sequence(kind: str, static: bool) -> None:
    more = 'layer { name: "s" type: "Input" top: "s" input_param { shape { dim: 2 dim: 5 } } }' if static else ""
    bottoms = 'bottom: "x" bottom: "c"' + (' bottom: "s"' if static else "")
    text = f'{LONG}{more} layer {{ name: "l" type: "{kind}" {bottoms} top: "h" recurrent_param {{ num_output: 3 }} }}'
    begun = time.process_time()
    assert make_net(text).blob_shapes["h"] == (1_000_000, 2, 3)
    assert time.process_time() - begun < 5


def test_a_blob_that_caffe_cannot_hold_is_an_error() -> None:
    text = INPUT.replace("dim: 2", "dim: 4294967295")
    with pytest.raises(NetError, match=r"top 'data' of shape \(4294967295, 3, 6, 6\) has 463856467860 values"):
        make_net(text)


def _chain(count: int) -> str:
    return INPUT + "".join(
        layer("Power", f"p{i - 1}" if i else "data", f"p{i}", f"power_param {{ shift: {i} }}") for i in range(count)
    )


def _missing(count: int) -> str:
    return INPUT + "".join(layer("ReLU", f"dataa{i}", f"r{i}") for i in range(count))


def _build(text: str) -> None:
    with contextlib.suppress(NetError):
        _meta(text)


@pytest.mark.parametrize("text", [_chain, _missing])
def test_time_grows_with_the_count_of_layers(text: Callable[[int], str]) -> None:
    """Eight times the layers take about eight times as long; quadratic work would take 64 times."""
    seconds = []
    for count in (250, 2000):
        whole = text(count)
        runs = []
        for _ in range(3):
            begun = time.process_time()
            _build(whole)
            runs.append(time.process_time() - begun)
        seconds.append(min(runs))
    assert seconds[1] < 24 * seconds[0], seconds
