"""Pooling against Caffe's loops written out, in all the corners of the window rule."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.layers import LayerError
from tests.layers.make import make_layer

LOWEST = np.finfo(np.float32).min


def windows(size: int, k: int, s: int, p: int, padded: bool, ceil: bool) -> list[tuple[int, int]]:
    """(start, end) of each window along an axis, before clipping, by the loop of BVLC's pooling_layer.cpp."""
    span = (size + 2 * p - k) / s
    count = (math.ceil(span) if ceil else math.floor(span)) + 1
    if padded and (count - 1) * s >= size + p:
        count -= 1
    return [(i * s - p, i * s - p + k) for i in range(count)]


def slow_pool(x: np.ndarray, method: str, kernel, stride, pad, ceil: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pooled values and mask of one plane (H, W)."""
    axes = [windows(*axis, any(pad), ceil) for axis in zip(x.shape, kernel, stride, pad, strict=True)]
    out = np.empty([len(axis) for axis in axes], np.float32)
    mask = np.full(out.shape, -1)
    for i, (top, bottom) in enumerate(axes[0]):
        for j, (left, right) in enumerate(axes[1]):
            if method == "AVE":
                lengths = [
                    min(end, size + p) - start
                    for start, end, size, p in ((top, bottom, x.shape[0], pad[0]), (left, right, x.shape[1], pad[1]))
                ]
                part = x[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
                area = lengths[0] * lengths[1]
                out[i, j] = part.sum() / area if area else np.nan
                continue
            out[i, j] = LOWEST
            for h in range(max(top, 0), min(bottom, x.shape[0])):
                for w in range(max(left, 0), min(right, x.shape[1])):
                    if x[h, w] > out[i, j]:
                        out[i, j], mask[i, j] = x[h, w], h * x.shape[1] + w
    return out, mask


@st.composite
def cases(draw):
    pick = lambda low, high: (draw(st.integers(low, high)), draw(st.integers(low, high)))  # noqa: E731
    kernel, stride = pick(1, 5), pick(1, 6)
    pad = tuple(draw(st.integers(0, k - 1)) for k in kernel) if draw(st.booleans()) else (0, 0)
    return pick(1, 9), kernel, stride, pad, draw(st.booleans()), draw(st.sampled_from(["MAX", "AVE"]))


def text_of(kernel, stride, pad, ceil, method, tops=1):
    names = " ".join(f'top: "t{i}"' for i in range(tops))
    return f"""type: "Pooling" {names} pooling_param {{ pool: {method} kernel_h: {kernel[0]} kernel_w: {kernel[1]}
        stride_h: {stride[0]} stride_w: {stride[1]} pad_h: {pad[0]} pad_w: {pad[1]}
        round_mode: {"CEIL" if ceil else "FLOOR"} }}"""


@settings(max_examples=150, deadline=None)
@given(cases(), st.booleans(), st.integers(0, 2**31))
def test_any_window(case, nhwc, seed):
    size, kernel, stride, pad, ceil, method = case
    # Few distinct values, so that maxima have ties.
    x = np.random.default_rng(seed).integers(-3, 4, size=(2, 2, *size)).astype(np.float32)
    want = [[slow_pool(plane, method, kernel, stride, pad, ceil) for plane in sample] for sample in x]
    text = text_of(kernel, stride, pad, ceil, method, 2 if method == "MAX" else 1)
    if 0 in want[0][0][0].shape:
        with pytest.raises(LayerError, match="no window"):
            make_layer(text, x.shape)
        return
    bottom = torch.from_numpy(x)
    if nhwc:
        bottom = bottom.contiguous(memory_format=torch.channels_last)
    got = make_layer(text, x.shape)(bottom)
    tops = got if method == "MAX" else (got,)
    for index, top in enumerate(tops):
        np.testing.assert_allclose(top.numpy(), [[plane[index] for plane in s] for s in want], atol=1e-5)
    if method == "MAX":
        alone = make_layer(text_of(kernel, stride, pad, ceil, method), x.shape)(bottom)
        assert torch.equal(alone, tops[0])


@settings(max_examples=25, deadline=None)
@given(cases(), st.integers(0, 2**31))
def test_gradient(case, seed):
    size, kernel, stride, pad, ceil, method = case
    generator = torch.Generator().manual_seed(seed)
    # A permutation has no ties and no two values nearer than the step of the numeric gradient.
    x = torch.randperm(2 * size[0] * size[1], generator=generator).double().view(1, 2, *size).requires_grad_()
    try:
        layer = make_layer(text_of(kernel, stride, pad, ceil, method), x.shape)
    except LayerError:
        return
    # Where a window holds nothing AVE gives 0 / 0.
    assert torch.autograd.gradcheck(lambda b: layer(b).nan_to_num(), x)


def test_first_of_equals_takes_the_gradient():
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    make_layer('type: "Pooling" pooling_param { kernel_size: 2 stride: 2 }', x.shape)(x).sum().backward()
    assert x.grad.flatten().nonzero().flatten().tolist() == [0, 2, 8, 10]


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_global_pooling_follows_the_size(method):
    layer = make_layer(f'type: "Pooling" pooling_param {{ pool: {method} global_pooling: true }}', (1, 3, 5, 6))
    x = torch.randn(2, 3, 8, 7)
    assert torch.allclose(layer(x), x.amax((2, 3), True) if method == "MAX" else x.mean((2, 3), True), atol=1e-6)


class TestStochastic:
    TEXT = 'type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 3 stride: 2 }'

    def test_train_picks_in_proportion_and_sends_the_gradient_to_the_picked_value(self):
        torch.manual_seed(1)
        plane = torch.tensor([[0.0, 1.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 4.0]])
        x = plane.expand(4000, 1, 3, 3).clone().requires_grad_()
        top = make_layer(self.TEXT, x.shape)(x)
        share = [(top == value).float().mean().item() for value in (1, 3, 4)]
        assert share == pytest.approx([1 / 8, 3 / 8, 4 / 8], abs=0.03)
        top.sum().backward()
        assert torch.equal(x.grad != 0, (x.detach() == top.detach()) & (x.detach() > 0))

    def test_test_phase_gives_the_expectation(self):
        x = torch.rand(2, 3, 6, 6)
        top = make_layer(self.TEXT, x.shape, phase=1)(x)
        part = x[1, 2, 2:5, 4:]
        assert top.shape == (2, 3, 3, 3)
        assert torch.allclose(top[1, 2, 1, 2], part.square().sum() / part.sum())
        assert not make_layer(self.TEXT, x.shape, phase=1)(torch.zeros_like(x)).any()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("", "kernel_size .* missing"),
        ("kernel_size: 3 kernel_h: 3 kernel_w: 3", "not both"),
        ("kernel_h: 3", "go together"),
        ("kernel_size: 2 pad: 2", "less than the kernel"),
        ("kernel_size: 2 stride: 0", "stride"),
        ("kernel_size: 9 stride: 1", "no window"),
        ("global_pooling: true kernel_size: 2", "whole plane"),
        ("global_pooling: true stride: 2", "pad 0 and stride 1"),
        ("pool: STOCHASTIC kernel_size: 3 pad: 1", "only MAX and AVE"),
    ],
)
def test_errors(fields, words):
    with pytest.raises(LayerError, match=words):
        make_layer(f'type: "Pooling" pooling_param {{ {fields} }}', (1, 2, 4, 4))


def test_mask_is_for_max_only():
    with pytest.raises(LayerError, match="second top"):
        make_layer(text_of((2, 2), (1, 1), (0, 0), True, "AVE", tops=2), (1, 2, 4, 4))


def test_spp_too_small():
    with pytest.raises(LayerError, match="too small"):
        make_layer('type: "SPP" spp_param { pyramid_height: 3 }', (1, 2, 3, 3))
