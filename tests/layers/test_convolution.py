"""Convolution, Deconvolution, Im2col: sizes, gradients, costs and the words of their errors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from caffecompat.layers import LayerError
from tests.layers.make import make_layer


def text_of(kind, **fields):
    parts = [
        f"{name}: {value}"
        for name, values in fields.items()
        for value in (values if type(values) is list else [values])
    ]
    filler = '{ type: "gaussian" std: 0.5 }'
    return f'type: "{kind}" convolution_param {{ {" ".join(parts)} weight_filler {filler} bias_filler {filler} }}'


@st.composite
def cases(draw):
    axes = draw(st.integers(1, 3))
    numbers = lambda low, high: [draw(st.integers(low, high)) for _ in range(axes)]  # noqa: E731
    group = draw(st.integers(1, 2))
    fields = {
        "num_output": group * draw(st.integers(1, 2)),
        "group": group,
        "kernel_size": numbers(1, 3),
        "stride": numbers(1, 3),
        "pad": numbers(0, 2),
        "dilation": numbers(1, 2),
        "bias_term": str(draw(st.booleans())).lower(),
    }
    return fields, (2, group * draw(st.integers(1, 2)), *numbers(1, 4 if axes < 3 else 3))


def spans(fields):
    return [d * (k - 1) + 1 for d, k in zip(fields["dilation"], fields["kernel_size"], strict=True)]


def axes_of(fields, shape):
    return zip(shape[2:], spans(fields), fields["stride"], fields["pad"], strict=True)


@settings(max_examples=30, deadline=None)
@given(cases())
def test_convolution_any(case):
    fields, shape = case
    sizes = [(size + 2 * pad - span) // stride + 1 for size, span, stride, pad in axes_of(fields, shape)]
    if any(span > size + 2 * pad for size, span, _, pad in axes_of(fields, shape)):
        with pytest.raises(LayerError, match="padded bottom has"):
            make_layer(text_of("Convolution", **fields), shape)
        return
    layer = make_layer(text_of("Convolution", **fields), shape).double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    top = layer(x)
    assert top.shape == (2, fields["num_output"], *sizes)
    macs = top.numel() * shape[1] // fields["group"] * math.prod(fields["kernel_size"])
    assert layer.macs([shape], [tuple(top.shape)]) == macs
    check_gradients(layer, x)


@settings(max_examples=30, deadline=None)
@given(cases())
def test_deconvolution_any(case):
    fields, shape = case
    sizes = [stride * (size - 1) + span - 2 * pad for size, span, stride, pad in axes_of(fields, shape)]
    if min(sizes) < 1:
        with pytest.raises(LayerError, match="leaves nothing"):
            make_layer(text_of("Deconvolution", **fields), shape)
        return
    layer = make_layer(text_of("Deconvolution", **fields), shape).double()
    assert layer.weight.shape == (shape[1], fields["num_output"] // fields["group"], *fields["kernel_size"])
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert layer(x).shape == (2, fields["num_output"], *sizes)
    check_gradients(layer, x)


def check_gradients(layer: nn.Module, x: torch.Tensor) -> None:
    assert torch.autograd.gradcheck(lambda bottom, *_: layer(bottom), (x, *layer.parameters()), fast_mode=True)


@settings(max_examples=20, deadline=None)
@given(cases(), st.integers(1, 2))
def test_im2col_is_the_convolution_unrolled(case, channels):
    fields, shape = case
    fields = {**fields, "group": 1, "bias_term": "false"}
    shape = (2, channels, *shape[2:])
    assume(all(span <= size + 2 * pad for size, span, _, pad in axes_of(fields, shape)))
    x = torch.randn(shape)
    convolution = make_layer(text_of("Convolution", **fields), shape)
    columns = make_layer(text_of("Im2col", **fields), shape)(x)
    product = torch.einsum("oc,nc...->no...", convolution.weight.flatten(1), columns)
    assert torch.allclose(product, convolution(x), atol=1e-4)


def test_height_and_width_forms():
    fields = "num_output: 4 kernel_h: 3 kernel_w: 1 stride_h: 2 stride_w: 1 pad_h: 1"
    layer = make_layer(f'type: "Convolution" convolution_param {{ {fields} }}', (1, 2, 8, 9))
    assert layer.weight.shape == (4, 2, 3, 1)
    assert layer(torch.zeros(1, 2, 8, 9)).shape == (1, 4, 4, 9)


def test_axis_moves_the_channels():
    layer = make_layer(text_of("Convolution", num_output=2, kernel_size=3, axis=2), (2, 5, 3, 6, 7))
    x = torch.randn(2, 5, 3, 6, 7)
    assert layer(x).shape == (2, 5, 2, 4, 5)
    plain = make_layer(text_of("Convolution", num_output=2, kernel_size=3), (5, 3, 6, 7))
    plain.load_state_dict(layer.state_dict())
    assert torch.allclose(layer(x)[1], plain(x[1]), atol=1e-5)


def test_bottoms_share_the_weights():
    text = 'top: "a" top: "b" ' + text_of("Convolution", num_output=2, kernel_size=1)
    first, second = torch.randn(2, 1, 3, 4, 4)
    layer = make_layer(text, first.shape, second.shape)
    tops = layer(first, second)
    assert torch.equal(tops[1], layer(second, first)[0])
    assert len(layer.blobs) == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("num_output: 2", "kernel_size .* missing"),
        ("kernel_size: 3", "num_output is missing"),
        ("num_output: 2 kernel_size: 3 kernel_h: 3", "not both"),
        ("num_output: 2 kernel_h: 3", "positive"),
        ("num_output: 2 kernel_size: 3 stride: 0", "stride must be positive"),
        ("num_output: 2 kernel_size: [3, 3, 3]", "3 values for 2 spatial axes"),
        ("num_output: 2 kernel_size: 3 group: 2", "group 2 must divide both the bottom's 3 channels"),
        ("num_output: 4 kernel_size: 3 group: 3", "and num_output 4"),
        ("num_output: 2 kernel_size: 3 dilation: 4", r"reaches over 9 values, the padded bottom has 6"),
        ("num_output: 2 kernel_size: 3 axis: 3", "1 to 3 spatial axes"),
        ("num_output: 2 kernel_size: 3 axis: 4", "axis 4 is not one of the 4 axes"),
        ('num_output: 2 kernel_size: 3 weight_filler { type: "xaver" }', "weight: unknown filler type 'xaver'"),
    ],
)
def test_errors(fields, words):
    with pytest.raises(LayerError, match=words):
        make_layer(f'type: "Convolution" convolution_param {{ {fields} }}', (1, 3, 6, 6))


def test_height_and_width_are_for_two_axes():
    with pytest.raises(LayerError, match="for 2 spatial axes"):
        make_layer('type: "Convolution" convolution_param { num_output: 1 kernel_h: 1 kernel_w: 1 }', (1, 3, 6))


@pytest.mark.parametrize("stride", ["stride: 2", "stride_h: 2 stride_w: 1", "stride_h: 1 stride_w: 3"])
@pytest.mark.parametrize("channels", [3, 4, 8, 12])
def test_strided_1x1_of_few_channels_in_channels_last(channels: int, stride: str) -> None:
    """oneDNN's gradient by such a weight writes beyond its memory; it is not asked for that."""
    torch.manual_seed(0)
    text = f'type: "Convolution" convolution_param {{ num_output: 16 kernel_size: 1 {stride} }}'
    layer = make_layer(text, (4, channels, 66, 66))
    nn.init.normal_(layer.weight)
    layer.channels_last = True
    x = torch.randn(4, channels, 66, 66)
    top = layer(x.contiguous(memory_format=torch.channels_last))
    weights = torch.randn_like(top)
    top.mul(weights).sum().backward()
    rows, columns = layer.stride
    seen = x[:, :, ::rows, ::columns].double()
    expected = torch.einsum("nohw,nchw->oc", weights.double(), seen)
    torch.testing.assert_close(layer.weight.grad[:, :, 0, 0].double(), expected, rtol=1e-4, atol=1e-3)
    result = torch.einsum("oc,nchw->nohw", layer.weight[:, :, 0, 0].double(), seen)
    torch.testing.assert_close(top.double(), result, rtol=1e-4, atol=1e-4)
