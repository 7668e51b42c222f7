"""Nets of FLOAT16 and BFLOAT16: layers in 16 bits; normalization, losses, scores and weights in float32."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from caffecompat.compare.nets import load_blobs
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork
from caffecompat.layers import Precision, layer_class, layer_types
from caffecompat.net import Net, NetError
from caffecompat.net.layer import NetLayer
from caffecompat.net.precision import compute, precision_text
from caffecompat.net.trace import trace
from caffecompat.schema import detect_fork, parse_text, pb
from tests.deploy.recorded import recorded_net
from tests.layers.test_golden_layers import CASES

NET = """
layer {{ name: "data" type: "Input" top: "data" top: "label"
  input_param {{ shape {{ dim: 2 dim: 3 dim: 8 dim: 8 }} shape {{ dim: 2 }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" {first}
  convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" {second}
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""


def _types(text: str) -> tuple[Net, dict[str, torch.dtype]]:
    net = Net(parse_text(text, pb.NetParameter()), pb.TRAIN, log=False)
    types: dict[str, torch.dtype] = {}
    for layer in net.layers:
        if layer.module is not None:
            layer.module.register_forward_hook(
                lambda module, bottoms, top, name=layer.name: types.__setitem__(name, top.dtype)
            )
    loss = net.loss(net.forward({"data": torch.randn(2, 3, 8, 8), "label": torch.tensor([1.0, 4.0])}))
    loss.backward()
    return net, types


def test_default_type_halves_all_but_the_loss():
    net, types = _types("default_forward_type: FLOAT16 global_grad_scale: 8" + NET.format(first="", second=""))
    assert types == {"conv": torch.bfloat16, "ip": torch.bfloat16, "loss": torch.float32}
    assert net.half_precision
    assert all(p.blob.dtype == p.blob.grad.dtype == torch.float32 for p in net.params)


def test_what_comes_out_is_single_precision():
    """Whoever takes outputs and traces to numpy, which knows no bfloat16, need not care."""
    text = "default_forward_type: FLOAT16" + NET.format(first="", second="").rsplit("layer {", 1)[0]
    net = Net(parse_text(text, pb.NetParameter()), pb.TEST, log=False)
    inputs = {"data": torch.randn(2, 3, 8, 8), "label": torch.zeros(2)}
    with torch.no_grad():
        assert net.forward(inputs)["ip"].dtype == torch.float32
    assert {array.dtype for _, tops in trace(net, inputs) for array in tops} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("forward_type: FLOAT16", "", (torch.bfloat16, torch.float32)), ("", "", (torch.float32, torch.float32))],
)
def test_layers_state_their_own_type(first, second, expected):
    net, types = _types(NET.format(first=first, second=second))
    assert (types["conv"], types["ip"]) == expected
    assert net.half_precision == bool(first)


@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16"])
def test_a_cpu_computes_both_types_of_16_bits_in_bfloat16(kind: str) -> None:
    text = f"default_forward_type: {kind} " + NET.format(first="", second="")
    net, types = _types(text)
    assert types == {"conv": torch.bfloat16, "ip": torch.bfloat16, "loss": torch.float32}
    why = ", as a CPU's float16 is slower than its float32" if kind == "FLOAT16" else ""
    assert precision_text(net.layers, net.device) == f"2 of 4 layers compute in bfloat16{why}"


def test_bfloat16_shows_no_fork() -> None:
    for text in (
        "default_forward_type: BFLOAT16",
        "layer { forward_type: BFLOAT16 }",
        "global_grad_scale_dynamic: true",
    ):
        assert detect_fork(parse_text(text, pb.NetParameter())) is Fork.BVLC
    assert detect_fork(parse_text("default_forward_type: FLOAT16", pb.NetParameter())) is Fork.NVCAFFE


MANY = """
layer { name: "data" type: "Input" top: "data" top: "label"
  input_param { shape { dim: 6 dim: 3 dim: 9 dim: 9 } shape { dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "scale" type: "Scale" bottom: "bn" top: "scale" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "scale" top: "scale" }
layer { name: "pool" type: "Pooling" bottom: "scale" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "means" type: "Pooling" bottom: "scale" top: "means"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "sum" type: "Eltwise" bottom: "pool" bottom: "means" top: "sum" }
layer { name: "ip" type: "InnerProduct" bottom: "sum" top: "ip"
  inner_product_param { num_output: 300 weight_filler { type: "msra" } } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
layer { name: "best" type: "ArgMax" bottom: "ip" top: "best" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


class ByTorch(nn.Module):
    """The layers of MANY as torch has them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.ip = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8 * 16, 300)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            conv = self.conv(data)
        seen = F.relu(self.bn(conv.float()).bfloat16())
        both = F.max_pool2d(seen, 2, ceil_mode=True) + F.avg_pool2d(seen.float(), 2, ceil_mode=True).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            return self.ip(both.flatten(1))


def test_forward_and_backward_are_torchs_own_in_bfloat16() -> None:
    torch.manual_seed(3)
    net = Net(parse_text(MANY, pb.NetParameter()), pb.TRAIN, log=False, amp="bf16")
    twin = ByTorch()
    with torch.no_grad():
        for ours, theirs in ((net.conv, twin.conv), (net.ip, twin.ip)):
            theirs.weight.copy_(ours.weight)
            theirs.bias.copy_(ours.bias)
    data, labels = torch.randn(6, 3, 9, 9), torch.tensor([1, 299, 7, 0, 150, 258])
    tops = net(data, labels.float())
    scores = twin(data)
    assert tops["loss"].item() == pytest.approx(F.cross_entropy(scores.float(), labels).item(), abs=1e-3)
    torch.testing.assert_close(tops["prob"], scores.float().softmax(1), rtol=0.02, atol=1e-4)
    tops["loss"].backward()
    F.cross_entropy(scores.float(), labels).backward()
    for ours, theirs in ((net.conv.weight, twin.conv.weight), (net.ip.weight, twin.ip.weight)):
        assert ours.grad.dtype == torch.float32
        assert (ours.grad - theirs.grad).norm() < 0.02 * theirs.grad.norm()
    torch.testing.assert_close(net.bn.mean, data.new_tensor(conv_means(twin, data)), rtol=1e-3, atol=1e-4)


def conv_means(twin: ByTorch, data: torch.Tensor) -> list[float]:
    with torch.autocast("cpu", torch.bfloat16):
        return twin.conv(data).double().mean((0, 2, 3)).tolist()


def test_which_layers_of_a_net_take_which_type() -> None:
    net = Net(parse_text(MANY, pb.NetParameter()), pb.TRAIN, log=False, amp="bf16")
    tops: dict[str, torch.dtype] = {}
    for layer in net.layers:
        if layer.module is not None:
            layer.module.register_forward_hook(
                lambda module, bottoms, top, name=layer.name: tops.update({name: top.dtype})
            )
    found = net(torch.randn(6, 3, 9, 9), torch.arange(6.0))
    single = {"bn", "scale", "means", "prob", "best", "accuracy", "loss"}
    assert {name for name, kind in tops.items() if kind == torch.float32} == single
    assert {name for name, kind in tops.items() if kind == torch.bfloat16} == {"conv", "relu", "pool", "sum", "ip"}
    assert all(blob.dtype == torch.float32 for blob in found.values())


def test_numbers_beyond_256_and_places_stay_exact() -> None:
    """bfloat16 holds no odd number above 256: indices, positions and labels may not pass through it."""
    text = """layer { name: "data" type: "Input" top: "x" top: "label"
        input_param { shape { dim: 1 dim: 2 dim: 40 dim: 40 } shape { dim: 4 } } }
      layer { name: "cut" type: "Slice" bottom: "label" top: "a" top: "b" slice_param { axis: 0 slice_point: 2 } }
      layer { name: "again" type: "Concat" bottom: "b" bottom: "a" top: "moved" concat_param { axis: 0 } }
      layer { name: "pool" type: "Pooling" bottom: "x" top: "p" top: "mask" pooling_param { kernel_size: 2 stride: 2 } }
      layer { name: "up" type: "Upsample" bottom: "p" bottom: "mask" top: "up" upsample_param { scale: 2 } }
      layer { name: "relu" type: "ReLU" bottom: "up" top: "up" }"""
    x, label = torch.rand(1, 2, 40, 40), torch.tensor([257.0, 1001.0, 259.0, 3.0])
    plain = Net(parse_text(text, pb.NetParameter()), pb.TEST, log=False)(x, label)
    halved = Net(parse_text(text, pb.NetParameter()), pb.TEST, log=False, amp="bf16")(x, label)
    assert halved["moved"].tolist() == [259, 3, 257, 1001]
    torch.testing.assert_close(halved["up"], plain["up"])


SOME = [path for path in CASES if path.stem[-3:] in ("-00", "-01", "-02") and "SampleWeights" not in path.stem]


@pytest.mark.parametrize("path", SOME, ids=[path.stem for path in SOME])
def test_every_recorded_layer_computes_with_bottoms_of_16_bits(path: Path) -> None:
    """All of them, the first one alone, or all but the first, as it comes where only some layers make 16 bits."""
    document, plain, inputs = recorded_net(path)
    net = Net(document, pb.TEST, log=False, amp="bf16")
    load_blobs(net, plain.blobs_by_layer())
    values = {value: torch.from_numpy(inputs[value.blob]) for layer in net.layers if layer.module is None
              for value in layer.top_values}  # fmt: skip
    for layer in net.layers:
        if layer.module is None:
            continue
        bottoms = [values[value] for value in layer.known_bottoms]
        exact = layer.module(*bottoms)
        if layer.precision in (Precision.HALF, Precision.ROUNDED):
            for chosen in ({*range(len(bottoms))}, {0}, {*range(1, len(bottoms))}):
                given = [b.bfloat16() if i in chosen and is_value(layer, i) else b for i, b in enumerate(bottoms)]
                for made, top in zip(as_tuple(compute(layer, given)), as_tuple(exact), strict=True):
                    assert made.shape == top.shape
                    assert (made.float() - top).abs().max() <= 0.03 * top.abs().max() + 1e-3
        values.update(zip(layer.top_values, as_tuple(exact), strict=False))


def is_value(layer: NetLayer, bottom: int) -> bool:
    """Whether a bottom is no index, mask or shape."""
    return bottom not in layer.module.index_bottoms and not (layer.type in ("Upsample", "Crop") and bottom)


def as_tuple(tops: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tops if isinstance(tops, tuple) else (tops,)


def test_amp_leaves_layers_alone_that_ask_for_float() -> None:
    net = Net(
        parse_text(NET.format(first="forward_type: FLOAT16", second="forward_type: FLOAT"), pb.NetParameter()),
        pb.TRAIN, log=False, amp="bf16",
    )  # fmt: skip
    asked = {layer.name: layer.half_type for layer in net.layers if layer.precision is Precision.HALF}
    assert asked == {"conv": torch.bfloat16}
    assert net.message.default_forward_type == pb.BFLOAT16
    assert not net.message.global_grad_scale_dynamic


def test_amp_of_float16_brings_a_dynamic_scale_unless_the_net_has_one() -> None:
    text = NET.format(first="", second="")
    message = parse_text(text, pb.NetParameter())
    assert Net(message, pb.TRAIN, log=False, amp="fp16").message.global_grad_scale_dynamic
    assert not message.HasField("default_forward_type"), "what the caller gave stays as it was"
    for stated in ("global_grad_scale: 128", "global_grad_scale_adaptive: true", "global_grad_scale_dynamic: false"):
        net = Net(parse_text(f"{stated} {text}", pb.NetParameter()), pb.TRAIN, log=False, amp="fp16")
        assert not net.message.global_grad_scale_dynamic


def test_amp_of_another_name_is_an_error() -> None:
    with pytest.raises(CaffeCompatError, match="amp 'fp8': expected bf16 or fp16"):
        Net(parse_text(NET.format(first="", second=""), pb.NetParameter()), pb.TRAIN, log=False, amp="fp8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("global_grad_scale: 0", ":2:1: global_grad_scale must be above 0, it is 0"),
        (
            "global_grad_scale_dynamic: true global_grad_scale: 8",
            ":2:1: global_grad_scale_dynamic starts at 65536 and cannot be combined with global_grad_scale",
        ),
        ("global_grad_scale_adaptive: true\nglobal_grad_scale_dynamic: true", ":3:1: global_grad_scale_dynamic starts"),
    ],
)
def test_scales_that_make_no_sense(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(f"# a net\n{text}\n{NET.format(first='', second='')}")
    with pytest.raises(NetError, match=re.escape(f"{path}{expected}")):
        Net(path, pb.TRAIN, log=False)


def test_no_loss_and_no_normalization_is_computed_in_16_bits() -> None:
    kinds = {name: layer_class(name) for name in layer_types()}
    losses = {name for name, kind in kinds.items() if kind is not None and (kind.is_loss or kind.measures)}
    assert "SoftmaxWithLoss" in losses and "Accuracy" in losses
    rest = {"Softmax", "ArgMax", "Reduction", "DetectionOutput", "PriorBox", "Proposal", "ConvolutionFixed", "Mixup"}
    for name in losses | rest:
        assert kinds[name].precision is Precision.SINGLE, name
    for name in ("BatchNorm", "BN", "Scale", "LRN", "MVN", "Normalize"):
        assert kinds[name].precision is Precision.ROUNDED, name


def test_a_layer_with_a_loss_weight_is_a_loss() -> None:
    text = NET.format(first="", second="loss_weight: 0.5").rsplit("layer {", 1)[0]
    net = Net(parse_text(text, pb.NetParameter()), pb.TRAIN, log=False, amp="bf16")
    assert {layer.name: layer.precision for layer in net.layers}["ip"] is Precision.SINGLE
    assert {layer.name: layer.precision for layer in net.layers}["conv"] is Precision.HALF
