"""Masks of max pooling that choose otherwise, between near equals and not, through all that is made from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from caffecompat.compare.masks import given_masks, recorded_masks
from caffecompat.compare.nets import TOLERANCE, compare_nets, load_blobs
from caffecompat.deploy.torch_source.source import make_source
from caffecompat.deploy.torch_source.verify import compare_source
from caffecompat.net import Net
from tests.net.nets import INPUT, conv, layer, make_net

POOL = 'layer { name: "p" type: "Pooling" bottom: "c" top: "p" top: "m" pooling_param { kernel_size: 2 stride: 2 } }\n'
UP = 'layer { name: "u" type: "Upsample" bottom: "p" bottom: "m" top: "u" upsample_param { scale: 2 } }\n'
UNPOOLED = INPUT + conv("c", "data") + POOL + UP + conv("d", "u")
CHAIN = (
    UNPOOLED
    + 'layer { name: "q" type: "Pooling" bottom: "d" top: "q" top: "n" pooling_param { kernel_size: 3 stride: 3 } }\n'
    + 'layer { name: "v" type: "Upsample" bottom: "q" bottom: "n" top: "v" upsample_param { upsample_h: 6 '
    "upsample_w: 6 } }\n" + conv("e", "v")
)  # fmt: skip


def _twins(text: str) -> tuple[Net, Net]:
    """Two nets of the same weights."""
    torch.manual_seed(3)
    first, second = make_net(text), make_net(text)
    load_blobs(second, first.blobs_by_layer())
    return first, second


def _tie(net: Net, gap: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let input and first convolution give windows whose upper values are `gap` apart; `net` sees them swapped."""
    values = np.zeros((2, 3, 6, 6), np.float32)
    values[..., ::2, ::2] = 1
    values[..., ::2, 1::2] = 1 - gap
    for module in ("compare.nets", "deploy.torch_source.verify"):
        monkeypatch.setattr(f"caffecompat.{module}.random_inputs", lambda *_: {"data": torch.from_numpy(values)})
    for one in net.layers:
        if one.name == "c":

            def swap(_: Any, __: Any, top: Tensor) -> Tensor:
                return top.unflatten(3, (-1, 2)).flip(4).flatten(3)  # columns 0 1 2 3 as 1 0 3 2

            one.module.register_forward_hook(swap)  # type: ignore[union-attr]


@pytest.mark.parametrize("text", [UNPOOLED, CHAIN, INPUT + conv("c", "data") + POOL])
def test_masks_between_near_equals_may_differ(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _twins(text)
    _tie(second, 1e-7, monkeypatch)
    found = compare_nets(first, second)
    assert all(difference.relative <= TOLERANCE for difference in found), found
    assert "masks of max pooling choose otherwise" in found[0].line() and "of 'p'" in found[0].line()


@pytest.mark.parametrize("text", [UNPOOLED, CHAIN])
def test_masks_between_others_are_a_difference(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _twins(text)
    _tie(second, 1e-3, monkeypatch)
    assert any(difference.relative > TOLERANCE for difference in compare_nets(first, second))


def test_a_place_outside_of_its_window_is_no_choice() -> None:
    """Every value is the maximum; yet only the window's own places may be named."""
    net = make_net(INPUT + layer("Power", "data", "c", "power_param { scale: 0 }") + POOL)
    inputs = {"data": torch.zeros(2, 3, 6, 6)}
    with recorded_masks(net) as masks:
        net.forward(inputs)
    assert masks[0][0, 0].tolist() == [[0, 2, 4], [12, 14, 16], [24, 26, 28]]
    for shift, worst in ((1, 0.0), (7, 0.0), (2, np.inf), (-1, np.inf), (12, np.inf)):
        with given_masks(net, {0: masks[0] + shift}, TOLERANCE) as choices:
            tops = net.forward(inputs)
        assert choices[0].worst == worst and choices[0].moved == choices[0].size
        assert torch.equal(tops["m"], masks[0] + (shift if worst == 0 else 0))


POOLINGS = {
    "module": "kernel_size: 2 stride: 2",
    "padded": "kernel_size: 3 stride: 2 pad: 1",
    "past the edge": "kernel_size: 2 stride: 4",
    "whole plane": "global_pooling: true",
}


@pytest.mark.parametrize("kind", POOLINGS)
def test_masks_of_a_torch_file(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The written file chooses otherwise; its own masks, in Caffe's numbers, are what the net is then given."""
    pool = POOL.replace("kernel_size: 2 stride: 2", POOLINGS[kind])
    text = INPUT + conv("c", "data") + pool + 'layer { name: "x" type: "Power" bottom: "m" top: "x" }\n'
    for gap, fits in ((1e-7, True), (1e-3, False)):
        net, other = _twins(text)
        _tie(other, gap, monkeypatch)
        source = make_source(net)
        module: dict[str, Any] = {"__name__": "made", "__file__": "made.py"}
        exec(compile(source.text, "made.py", "exec", dont_inherit=True), module)
        nets = [v for v in module.values() if isinstance(v, type) and issubclass(v, torch.nn.Module)]
        made = nets[-1]()
        made.load_state_dict(source.state)
        made.c.register_forward_hook(lambda _, __, top: top.unflatten(3, (-1, 2)).flip(4).flatten(3))
        found = compare_source(net, source, made.eval())
        assert (max(difference.relative for difference in found) <= TOLERANCE) == fits, (kind, gap, found)


def test_dropping_at_inference_draws_alike_whatever_the_layout() -> None:
    drop = 'layer { name: "d" type: "Dropout" bottom: "c" top: "d" dropout_param { sample_weights_test: true } }\n'
    first, second = _twins(INPUT + conv("c", "data") + drop)
    for one in second.layers:
        if one.name == "c":
            one.module.register_forward_hook(  # type: ignore[union-attr]
                lambda _, __, top: top.contiguous(memory_format=torch.channels_last)
            )
    (found,) = compare_nets(first, second)
    assert found.largest == 0
