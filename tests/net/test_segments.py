"""Nets computed by segments: with checkpointed activations the same bits from fewer blobs, compiled or not the same."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from caffecompat import glog
from caffecompat.net import Net
from caffecompat.net.checkpointed import CheckpointedCode
from caffecompat.net.compiled import CompiledCode
from caffecompat.schema import pb
from tests.net.nets import INPUT, LABEL, conv, layer, make_net

AFFINE = "scale_param { bias_term: true }"
XILINX = "batch_norm_param { scale_filler { value: 1 } bias_filler { value: 0.5 } }"
PSPNET = "bn_param { slope_filler { value: 1 } bias_filler { value: 0.5 } momentum: 0.9 }"
NORMS = {
    "bvlc": layer("BatchNorm", "a", "n") + layer("Scale", "n", "s", AFFINE),
    "xilinx": layer("BatchNorm", "a", "s", XILINX),
    "pspnet": layer("BN", "a", "s", PSPNET),
}


def _text(norm: str) -> str:
    """A net with a skip, dropout twice, a gradient that is cut, and an accuracy in its midst."""
    product = 'inner_product_param { num_output: 5 weight_filler { type: "xavier" } }'
    return (
        INPUT + LABEL
        + conv("a", "data") + NORMS[norm] + layer("ReLU", "s", "s", name="r")
        + layer("Dropout", "s", "d") + conv("b", "d") + layer("ReLU", "b", "b", name="r2")
        + layer("InnerProduct", "b", "half", product)
        + 'layer { name: "acc" type: "Accuracy" bottom: "half" bottom: "label" top: "acc" }'
        + conv("c", "b") + layer("Dropout", "c", "c", name="d2")
        + 'layer { name: "sum" type: "Eltwise" bottom: "s" bottom: "c" top: "sum" }'
        + layer("ReLU", "sum", "sum", name="r3") + conv("e", "sum", more="propagate_down: false")
        + 'layer { name: "cat" type: "Concat" bottom: "e" bottom: "sum" top: "cat" }'
        + layer("InnerProduct", "cat", "fc", product)
        + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }'
    )  # fmt: skip


def _train(net: Net) -> list[Tensor]:
    """Losses, gradients and statistics of three iterations."""
    torch.manual_seed(3)
    found = []
    for _ in range(3):
        for param in net.params:
            param.blob.grad = None
        loss = net.loss(net(torch.randn(2, 3, 6, 6), torch.tensor([1.0, 4.0])))
        loss.backward()
        found += [loss.detach(), *(p.blob.grad.clone() for p in net.params if p.blob.grad is not None)]
        with torch.no_grad():
            for param in net.params:
                if param.blob.grad is not None:
                    param.blob.sub_(param.blob.grad, alpha=0.1)
    return found + [slot.tensor().clone() for each in net.layers for slot in each.slots if not slot.learned]


@pytest.mark.parametrize("norm", NORMS)
def test_checkpointed_passes_give_the_same_bits(norm: str) -> None:
    net = make_net(_text(norm), pb.TRAIN)
    plain = copy.deepcopy(net)
    net.checkpoint_activations()
    assert isinstance(net._code, CheckpointedCode)
    assert sum(segment.pure for segment in net._code.segments) > 2
    expected = _train(plain)
    made = _train(net)
    assert len(made) == len(expected)
    assert all(torch.equal(one, two) for one, two in zip(made, expected, strict=True))


def test_checkpointed_passes_hold_fewer_blobs() -> None:
    text = INPUT + LABEL + conv("l0", "data")
    for at in range(16):
        text += conv(f"l{at + 1}", f"l{at}") + layer("Sigmoid", f"l{at + 1}", f"l{at + 1}", name=f"t{at}")
    net = make_net(text, pb.TRAIN)
    plain = _held(net)
    net.checkpoint_activations()
    assert _held(net) < plain / 2


def _held(net: Net) -> int:
    """How many layers' tops are in memory between the passes."""
    tops: list[weakref.ref[Any]] = []
    modules = [each.module for each in net.layers if each.module is not None]
    handles = [
        module.register_forward_hook(lambda _, bottoms, top: tops.append(weakref.ref(top))) for module in modules
    ]
    top = net(data=torch.randn(2, 3, 6, 6), label=torch.zeros(2))["l16"]
    held = sum(each() is not None for each in tops)
    top.sum().backward()
    for handle in handles:
        handle.remove()
    return held


def test_without_gradients_nothing_is_computed_twice() -> None:
    net = make_net(_text("bvlc"), pb.TRAIN)
    net.checkpoint_activations()
    count: list[int] = []
    net.a.register_forward_hook(lambda *_: count.append(1))
    with torch.no_grad():
        net(torch.randn(2, 3, 6, 6), torch.tensor([1.0, 4.0]))
    assert len(count) == 1


def test_copies_compute_layer_by_layer() -> None:
    net = make_net(_text("bvlc"), pb.TRAIN)
    net.checkpoint_activations()
    assert copy.deepcopy(net)._code is None


def _compiled(net: Net, compile_graph: Callable[..., Any]) -> list[str]:
    """Let a net compute compiled by that; the lines of the log, which are there after passes."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glog, "info", lambda text, where="": lines.append(text))
        net._code = CompiledCode(net.graph, compile_graph=compile_graph)
    return lines


def test_compiled_segments_give_the_same_numbers() -> None:
    net = make_net(_text("bvlc"), pb.TRAIN)
    plain = copy.deepcopy(net)
    graphs: list[fx.GraphModule] = []

    def take(graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    lines = _compiled(net, take)
    expected = _train(plain)
    assert all(torch.equal(one, two) for one, two in zip(_train(net), expected, strict=True))
    assert graphs
    assert len(lines) == 1
    assert "'acc' (Accuracy), 'loss' (SoftmaxWithLoss)" in lines[0]


def test_what_cannot_be_compiled_is_computed_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    net = make_net(_text("bvlc"), pb.TRAIN)
    plain = copy.deepcopy(net)

    def refuse(graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        raise RuntimeError("No working C++ compiler found\nin /usr/bin")

    _compiled(net, refuse)
    lines: list[str] = []
    monkeypatch.setattr(glog, "info", lambda text, where="": lines.append(text))
    expected = _train(plain)
    assert all(torch.equal(one, two) for one, two in zip(_train(net), expected, strict=True))
    assert lines == ["torch.compile: not used, as it fails: RuntimeError: No working C++ compiler found"]


@pytest.mark.nightly
def test_inductors_code_gives_the_same_numbers() -> None:
    net = make_net(_text("bvlc").replace("Dropout", "TanH"), pb.TRAIN)
    plain = copy.deepcopy(net)
    net.compile_code()
    for one, two in zip(_train(net), _train(plain), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
