"""Activations: values that the records do not hold, gradients by differences, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.layers import LayerError
from tests.layers.make import make_layer

EDGES = torch.tensor([-100.0, -1.0, -0.0, 0.0, 1.0, 6.0, 7.0, 100.0])

SMOOTH = [
    'type: "ReLU"',
    'type: "ReLU" relu_param { negative_slope: 0.3 }',
    'type: "ReLU6" relu_param { negative_slope: 0.3 }',
    'type: "PReLU"',
    'type: "PReLU" prelu_param { channel_shared: true }',
    'type: "ELU" elu_param { alpha: 0.7 }',
    'type: "Sigmoid"',
    'type: "TanH"',
    'type: "BNLL"',
    'type: "AbsVal"',
    'type: "Swish" swish_param { beta: 2 }',
    'type: "Mish"',
    'type: "HardSwish"',
    'type: "GELU"',
    'type: "SiLU"',
    'type: "HardSigmoid" hardsigmoid_param { alpha: 0.3 }',
    'type: "Clip" clip_param { min: -1 max: 2 }',
    'type: "Power" power_param { power: 3 scale: 0.5 shift: 1 }',
    'type: "Power" power_param { power: 0 scale: 0.5 shift: 1 }',
    'type: "Power" power_param { power: 2 scale: 0 shift: 3 }',
    'type: "Exp" exp_param { base: 2 scale: 0.5 shift: 1 }',
    'type: "Log" log_param { base: 10 scale: 0.1 shift: 3 }',
]


@pytest.mark.parametrize("text", SMOOTH)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_gradient_is_the_derivative(text: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Nothing lies within the step of a difference quotient from a corner (whole numbers).
    x = torch.randint(-6, 6, (2, 3, 2), generator=generator).double() / 2 + 0.3
    layer = make_layer(text, x.shape).double()
    assert torch.autograd.gradcheck(layer, x.requires_grad_())


@pytest.mark.parametrize("text", SMOOTH)
def test_memory_format_is_kept(text: str) -> None:
    x = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    layer = make_layer(text, x.shape)
    top = layer(x)
    assert top.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(top, layer(x.contiguous()))


def test_corners_have_caffes_slopes() -> None:
    x = EDGES.clone().requires_grad_()
    make_layer('type: "ReLU" relu_param { negative_slope: 0.5 }', x.shape)(x).sum().backward()
    assert x.grad.tolist() == [0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1]
    x.grad = None
    make_layer('type: "ReLU6"', x.shape)(x).sum().backward()
    assert x.grad.tolist() == [0, 0, 0, 0, 1, 0, 0, 0]
    x.grad = None
    make_layer('type: "Clip" clip_param { min: -1 max: 6 }', x.shape)(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 0, 0]


def test_bnll_does_not_overflow() -> None:
    top = make_layer('type: "BNLL"', EDGES.shape)(EDGES)
    assert top[-1] == 100 and top[2] == pytest.approx(math.log(2)) and 0 <= top[0] < 1e-30


def test_threshold_is_strict_and_passes_no_gradient() -> None:
    layer = make_layer('type: "Threshold" threshold_param { threshold: 6 }', EDGES.shape)
    assert layer(EDGES).tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert not layer.needs_gradient(0)


def test_prelu_starts_at_a_quarter_and_has_caffes_blob_shapes() -> None:
    each, shared = (
        make_layer(f'type: "PReLU" prelu_param {{ channel_shared: {flag} }}', (2, 3, 4)) for flag in ("false", "true")
    )
    assert each.blobs[0].tolist() == [0.25] * 3
    assert shared.blobs[0].shape == () and shared.blobs[0] == 0.25
    filled = make_layer('type: "PReLU" prelu_param { filler { type: "constant" value: 0.1 } }', (2, 3))
    assert filled.blobs[0].tolist() == pytest.approx([0.1] * 3)


@pytest.mark.parametrize(
    ("text", "shape", "words"),
    [
        ('type: "Clip" clip_param { min: 2 }', (2,), "needs max"),
        ('type: "Clip" clip_param { min: 2 max: 1 }', (2,), "above max"),
        ('type: "Exp" exp_param { base: 0 }', (2,), "base 0"),
        ('type: "Log" log_param { base: 1 }', (2,), "base 1"),
        ('type: "PReLU"', (2,), "channel axis"),
    ],
)
def test_refusals(text: str, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(text, shape)


def test_activations_of_mobilenet_v3_yolo_v4_and_transformers() -> None:
    x = np.linspace(-7, 7, 57)
    bottom = torch.from_numpy(x)
    gate = np.clip(x + 3, 0, 6) / 6
    for text, expected in (
        ('type: "HardSigmoid"', gate),
        ('type: "HardSigmoid" hardsigmoid_parm { engine: CAFFE }', gate),
        ('type: "HardSigmoid" hardsigmoid_param { alpha: 0.2 beta: 0.4 }', np.clip(0.2 * x + 0.4, 0, 1)),
        ('type: "HardSwish"', x * gate),
        ('type: "HSwish"', x * gate),
        ('type: "SiLU"', x / (1 + np.exp(-x))),
        ('type: "GELU"', x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        ('type: "Mish" mish_param { engine: CUDNN }', x * np.tanh(np.log1p(np.exp(x)))),
    ):
        np.testing.assert_allclose(make_layer(text, x.shape)(bottom).numpy(), expected, rtol=1e-6, atol=1e-7)
