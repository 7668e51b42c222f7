"""Upsample undoes max pooling; Interp keeps corners; DeephiResize is OpenCV's; all refuse what cannot be."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.layers import LayerError
from tests.layers.make import make_layer

SIZES = st.integers(1, 40)


def test_upsample_puts_maxima_back():
    pooling = make_layer(
        'type: "Pooling" top: "p" top: "mask" pooling_param { pool: MAX kernel_size: 2 stride: 2 }', (2, 3, 6, 8)
    )
    bottom = torch.randn(2, 3, 6, 8)
    top, mask = pooling(bottom)
    back = make_layer('type: "Upsample"', top.shape, mask.shape)(top, mask)
    assert back.shape == bottom.shape
    assert torch.equal(back[back != 0], bottom[back != 0])
    assert (back != 0).sum() == top.numel()


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_upsample_without_a_mask_repeats_values(scale):
    layer = make_layer(f'type: "Upsample" upsample_param {{ scale: {scale} }}', (2, 3, 4, 5))
    bottom = torch.randn(2, 3, 4, 5, requires_grad=True)
    top = layer(bottom)
    assert np.array_equal(top.detach(), np.kron(bottom.detach(), np.ones((1, 1, scale, scale), "f")))
    top.sum().backward()
    assert (bottom.grad == scale * scale).all()


@pytest.mark.parametrize("text", ["", "scale: 0", "scale: 2 pad_out_h: true", "scale_h: 2 scale_w: 2"])
def test_upsample_without_a_mask_takes_scale_alone(text):
    with pytest.raises(LayerError, match="repeats values, and takes scale alone"):
        make_layer(f'type: "Upsample" upsample_param {{ {text} }}', (2, 3, 4, 5))


def test_upsample_gradient_gathers():
    layer = make_layer('type: "Upsample" upsample_param { upsample_h: 3 upsample_w: 3 }', (1, 1, 1, 2), (1, 1, 1, 2))
    data = torch.tensor([[[[1.0, 2.0]]]], requires_grad=True)
    top = layer(data, torch.tensor([[[[4.0, 8.0]]]]))
    assert top.flatten().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 2]
    top.backward(torch.arange(9.0).view(1, 1, 3, 3))
    assert data.grad.flatten().tolist() == [4, 8]


@pytest.mark.parametrize(("text", "size"), [
    ("scale: 3", (9, 12)),
    ("scale_h: 2 scale_w: 3", (6, 12)),
    ("pad_out_h: true", (5, 8)),
    ("upsample_h: 7 upsample_w: 5", (7, 5)),
])  # fmt: skip
def test_upsample_sizes(text, size):
    layer = make_layer(f'type: "Upsample" upsample_param {{ {text} }}', (1, 2, 3, 4), (1, 2, 3, 4))
    zeros = torch.zeros(1, 2, 3, 4)
    assert layer(zeros, zeros).shape[2:] == size


def test_a_mask_of_another_plane_is_explained():
    layer = make_layer('type: "Upsample"', (1, 1, 1, 1), (1, 1, 1, 1))
    with pytest.raises(LayerError, match=r"place 4, the top's plane has 4 \(2 x 2\)"):
        layer(torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 4.0))


@pytest.mark.parametrize(("text", "size"), [
    ("shrink_factor: 2", (3, 4)),
    ("zoom_factor: 3", (13, 19)),
    ("shrink_factor: 2 zoom_factor: 3", (7, 10)),
    ("height: 2 width: 9", (2, 9)),
    ("zoom_factor: 2 pad_beg: -1 pad_end: -1", (5, 9)),
])  # fmt: skip
def test_interp_sizes_and_corners(text, size):
    layer = make_layer(f'type: "Interp" interp_param {{ {text} }}', (1, 2, 5, 7))
    bottom = torch.randn(1, 2, 5, 7)
    top = layer(bottom)
    assert top.shape[2:] == size
    cropped = bottom[..., 1:-1, 1:-1] if "pad" in text else bottom
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert torch.allclose(top[..., row, column], cropped[..., row, column], atol=1e-6)


@pytest.mark.parametrize(("text", "message"), [
    ('type: "Interp"', "give shrink_factor"),
    ('type: "Interp" interp_param { height: 3 }', "height and width"),
    ('type: "Interp" interp_param { zoom_factor: 0 }', "at least 1"),
    ('type: "Interp" interp_param { zoom_factor: 2 pad_beg: 1 }', "only cropping"),
    ('type: "Interp" interp_param { zoom_factor: 2 pad_beg: -9 }', "would be resized to"),
    ('type: "Interp" interp_param { height: 3 width: 3 pad_end: -5 }', "would be resized to 3 x 3"),
])  # fmt: skip
def test_interp_refusals(text, message):
    with pytest.raises(LayerError, match=message):
        make_layer(text, (1, 2, 5, 7))


@pytest.mark.parametrize("like", [(1, 4, 8, 3), (2, 1, 5, 7), (1, 1, 1, 1)])
@pytest.mark.parametrize("crop", ["", "interp_param { pad_beg: -1 pad_end: -2 }"])
def test_interp_to_the_size_of_another_blob(like, crop):
    layer = make_layer(f'type: "Interp" {crop}', (2, 2, 5, 7), like)
    for shape in ((2, 2, 5, 7), (1, 2, 9, 4)):
        bottom, reference = torch.randn(shape, dtype=torch.double), torch.randn(like)
        cropped = bottom[..., 1:-2, 1:-2] if crop else bottom
        wanted = torch.nn.functional.interpolate(cropped, like[2:], mode="bilinear", align_corners=True)
        torch.testing.assert_close(layer(bottom, reference), wanted)
    assert [layer.needs_gradient(k) for k in range(2)] == [True, False]
    bottom = torch.randn(2, 2, 5, 7, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x, torch.zeros(like)), bottom)


@pytest.mark.parametrize(("text", "like", "message"), [
    ("zoom_factor: 2", (1, 2, 5, 7), "its second bottom gives the size"),
    ("height: 3 width: 3", (1, 2, 5, 7), "its second bottom gives the size"),
    ("", (1, 2), r"\(N, C, H, W\), it has shape \(1, 2\)"),
    ("", (1, 2, 0, 7), "would be resized to 0 x 7"),
])  # fmt: skip
def test_interp_to_the_size_of_another_blob_refuses(text, like, message):
    with pytest.raises(LayerError, match=message):
        make_layer(f'type: "Interp" interp_param {{ {text} }}', (1, 2, 5, 7), like)


@settings(max_examples=40, deadline=None)
@given(height=SIZES, width=SIZES, new_height=SIZES, new_width=SIZES, bilinear=st.booleans())
def test_resize_is_opencvs(height: int, width: int, new_height: int, new_width: int, bilinear: bool) -> None:
    x = np.random.default_rng(0).normal(0, 1, (1, 2, height, width)).astype(np.float32)
    method = "BILINEAR" if bilinear else "NEAREST"
    text = f"resize_type: {method} new_height: {new_height} new_width: {new_width}"
    top = make_layer(f'type: "DeephiResize" deephi_resize_param {{ {text} }}', x.shape)(torch.from_numpy(x))
    flag = cv2.INTER_LINEAR if bilinear else cv2.INTER_NEAREST
    for plane, ours in zip(x[0], top[0].numpy(), strict=True):
        theirs = cv2.resize(plane, (new_width, new_height), interpolation=flag)
        np.testing.assert_allclose(ours, theirs, atol=3e-5 if bilinear else 0)


def test_nearest_where_torchs_rounding_differs_from_opencvs() -> None:
    x = np.arange(300, dtype=np.float32).reshape(1, 1, 1, 300)
    layer = make_layer('type: "DeephiResize" deephi_resize_param { new_height: 1 new_width: 78 }', x.shape)
    theirs = cv2.resize(x[0, 0], (78, 1), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(layer(torch.from_numpy(x))[0, 0], theirs)


@pytest.mark.parametrize(
    "text", ["scale_h: 2 scale_w: 1.5", "resize_type: BILINEAR scale_h: 0.7 scale_w: 2", "new_height: 2 new_width: 9"]
)
def test_resize_has_a_gradient_and_keeps_the_memory_format(text: str) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.double).contiguous(memory_format=torch.channels_last).requires_grad_()
    layer = make_layer(f'type: "DeephiResize" deephi_resize_param {{ {text} }}', x.shape)
    assert torch.autograd.gradcheck(layer, x)
    torch.testing.assert_close(layer(x), layer(x.contiguous()))


def test_resize_cuts_scaled_sizes() -> None:
    layer = make_layer('type: "DeephiResize" deephi_resize_param { scale_h: 0.99 scale_w: 1.5 }', (1, 1, 3, 3))
    assert layer(torch.zeros(1, 1, 3, 3)).shape == (1, 1, 2, 4)


@pytest.mark.parametrize(
    ("text", "shapes", "words"),
    [
        ('type: "DeephiResize" deephi_resize_param { new_height: 3 }', [(1, 1, 2, 2)], "together"),
        ('type: "DeephiResize" deephi_resize_param { scale_h: 0.1 }', [(1, 1, 2, 2)], "0 x 2"),
    ],
)
def test_resize_refusals(text: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(text, *shapes)
