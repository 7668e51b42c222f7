"""Shapes without memory: the same as torch's own on meta tensors, but without what those import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from caffecompat.layers import Layer
from caffecompat.net import Net
from caffecompat.net.meta import run_on_meta
from caffecompat.schema import parse_text, pb
from tests.net.nets import INPUT, conv, make_net

MODELS = Path(__file__).resolve().parents[2] / "models"

Shape = tuple[int, ...]

# A net of what most nets are made of, with losses and a measure.
COMMON = """
layer { name: "data" type: "Input" top: "data" top: "label"
        input_param { shape { dim: 6 dim: 3 dim: 17 dim: 19 } shape { dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "lrn" type: "LRN" bottom: "conv" top: "lrn" }
layer { name: "pool" type: "Pooling" bottom: "lrn" top: "pool" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "mean" type: "Pooling" bottom: "lrn" top: "mean"
        pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "prelu" type: "PReLU" bottom: "mean" top: "mean" }
layer { name: "up" type: "Deconvolution" bottom: "pool" top: "up"
        convolution_param { num_output: 8 kernel_size: 2 stride: 2 } }
layer { name: "sum" type: "Eltwise" bottom: "pool" bottom: "mean" top: "sum" }
layer { name: "both" type: "Concat" bottom: "sum" bottom: "pool" top: "both" }
layer { name: "fc" type: "InnerProduct" bottom: "both" top: "fc" inner_product_param { num_output: 10 } }
layer { name: "tanh" type: "TanH" bottom: "fc" top: "tanh" }
layer { name: "drop" type: "Dropout" bottom: "tanh" top: "drop" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "drop" bottom: "label" top: "loss" }
layer { name: "hits" type: "Accuracy" bottom: "drop" bottom: "label" top: "hits" }
layer { name: "distance" type: "EuclideanLoss" bottom: "fc" bottom: "drop" top: "distance" }
"""
COMMON_TOPS = {
    "conv": (6, 8, 15, 17),
    "pool": (6, 8, 7, 8),
    "mean": (6, 8, 7, 8),
    "up": (6, 8, 14, 16),
    "both": (6, 16, 7, 8),
    "drop": (6, 10),
    "loss": (),
    "hits": (),
    "distance": (),
}

# Operation by operation, on a (4, 3, 8, 8) and what it takes besides.
OPERATIONS: dict[str, tuple[Callable[..., Any], Sequence[Shape]]] = {
    "conv": (F.conv2d, [(6, 3, 3, 3)]),
    "grouped conv": (lambda x, w: F.conv2d(x, w, None, 2, 1, 1, 3), [(6, 1, 3, 3)]),
    "transposed conv": (lambda x, w: F.conv_transpose2d(x, w, None, 2), [(3, 5, 3, 3)]),
    "batch norm": (F.batch_norm, [(3,), (3,)]),
    "batch norm in training": (lambda x, m, v: F.batch_norm(x, m, v, None, None, True), [(3,), (3,)]),
    "max pool": (lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True, return_indices=True), []),
    "average pool": (lambda x: F.avg_pool2d(x, 3, 2), []),
    "bilinear": (lambda x: F.interpolate(x, (5, 16), mode="bilinear"), []),
    "columns": (lambda x: F.unfold(x, 3), []),
    "softmax": (lambda x: x.softmax(1), []),
    "softmax of rows": (lambda x: x.softmax(0), []),
    "mean of rows": (lambda x: x.mean(0), []),
    "mean of the rest": (lambda x: x.mean((1, 2, 3), keepdim=True), []),
    "sum of all": (lambda x: x.sum(), []),
    "sum of rows, kept": (lambda x: x.sum(0, keepdim=True), []),
    "concat": (lambda x, y: torch.cat([x, y], 1), [(4, 9, 8, 8)]),
    "concat of rows": (lambda x, y: torch.cat([x, y]), [(5, 3, 8, 8)]),
    "concat of rows, counted from behind": (lambda x, y: torch.cat([x, y], -4), [(5, 3, 8, 8)]),
    "broadcast over rows": (torch.add, [(1, 3, 1, 1)]),
    "broadcast of fewer axes": (torch.mul, [(8, 8)]),
    "broadcast of more axes": (torch.mul, [(2, 4, 3, 1, 8)]),
    "broadcast to more rows": (lambda x, y: y[:1] + x, [(4, 3, 8, 8)]),
    "compared": (lambda x: x > 0.5, []),
    "whole numbers": (lambda x: x.long() * 2 + x.int(), []),
    "in place": (lambda x: (x + 1).clamp_(0, 1).neg_(), []),
    "noise": (lambda x: torch.empty_like(x).bernoulli_(0.5), []),
    "picked": (lambda x: x.gather(1, x[:, :2].long()), []),
    "embedding": (lambda x, w: F.embedding(x.long(), w), [(11, 6)]),
    "matrix": (lambda x, w: F.linear(x.flatten(1), w[0], w[0, :, 0]), [(1, 5, 192)]),
    "of no axes": (lambda x: x.sum() * 2 + 1, []),
}


class Applied(nn.Module):
    def __init__(self, operation: Callable[..., Any]) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, *bottoms: Tensor) -> Any:
        return self.operation(*bottoms)


def described(made: Any) -> list[tuple[Shape, torch.dtype, bool]]:
    return [(tuple(top.shape), top.dtype, top.is_meta) for top in (made if isinstance(made, tuple) else (made,))]


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_give_what_torch_gives(name: str) -> None:
    operation, others = OPERATIONS[name]
    shapes = [(4, 3, 8, 8), *others]
    ours = run_on_meta(Applied(operation), shapes)  # type: ignore[arg-type]
    assert described(ours) == described(operation(*(torch.empty(shape, device="meta") for shape in shapes)))


@pytest.mark.parametrize(
    ("operation", "other", "told"),
    [
        (torch.add, (5, 3, 8, 8), r"\b4\b.*\b5\b|\b5\b.*\b4\b"),
        (torch.add, (4, 2, 8, 8), r"\b3\b.*\b2\b|\b2\b.*\b3\b"),
        (lambda x, y: torch.cat([x, y], 1), (5, 3, 8, 8), r"\b4\b.*\b5\b|\b5\b.*\b4\b"),
    ],
)
def test_what_does_not_fit_is_told_of_the_true_shapes(operation: Callable[..., Any], other: Shape, told: str) -> None:
    with pytest.raises(RuntimeError, match=told):
        run_on_meta(Applied(operation), [(4, 3, 8, 8), other])  # type: ignore[arg-type]


def test_it_draws_no_random_numbers() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    run_on_meta(Applied(lambda x: torch.empty_like(x).bernoulli_(0.5) + torch.rand_like(x)), [(4, 3)])  # type: ignore[arg-type]
    torch.testing.assert_close(torch.rand(1), expected)


@pytest.mark.parametrize("phase", [pb.TRAIN, pb.TEST])
def test_common_layers(phase: int) -> None:
    net = Net(parse_text(COMMON, pb.NetParameter()), phase)
    assert {name: net.blob_shapes[name] for name in COMMON_TOPS} == COMMON_TOPS


def test_neither_compiler_nor_sympy_is_imported(tmp_path: Path) -> None:
    common = tmp_path / "common.prototxt"
    common.write_text(COMMON)
    nets = [str(common), *(str(MODELS / name / "deploy.prototxt") for name in ("lenet", "espnet", "enet"))]
    script = (
        "import sys\n"
        "from caffecompat.net import Net\n"
        f"for path in {nets!r}:\n"
        "    for phase in (0, 1):\n"
        "        Net(path, phase)\n"
        "        Net(path, phase, meta=True)\n"
        "print([name for name in ('sympy', 'torch._dynamo', 'torch._inductor') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_layers_that_differ_in_names_alone_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []

    def count(module: Layer, bottoms: Sequence[Shape]) -> Any:
        counted.append(module.param.name)
        return run_on_meta(module, bottoms)

    monkeypatch.setattr("caffecompat.net.shapes.run_on_meta", count)
    net = make_net(
        INPUT + conv("a", "data") + conv("b", "a") + conv("c", "b") + conv("d", "c", outputs=5) + conv("e", "b", "f")
    )
    assert counted == ["a", "b", "d"]  # "a" has other bottoms than "b"
    assert [net.blob_shapes[blob][1] for blob in "abcdf"] == [4, 4, 4, 5, 4]
