"""Segmentation layers: counts written out, resizing against OpenCV, rearrangements against index arithmetic."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.layers import LayerError
from tests.layers.golden import Replay
from tests.layers.make import make_layer

SIZES = st.integers(1, 40)


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


@settings(max_examples=15, deadline=None)
@given(scale=st.sampled_from([(1, 1), (2, 3)]), seed=st.integers(0, 99))
def test_segment_pixel_iou_counts_every_pixel_but_255(scale: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, (2, 4, 3, 2)).astype(np.float32)
    labels = rng.choice([0, 1, 2, 3, 255], (2, 1, 3 * scale[0], 2 * scale[1])).astype(np.float32)
    found = scores.argmax(1).repeat(scale[0], 1).repeat(scale[1], 2).ravel()
    expected = np.zeros((3, 4))
    for truth, guess in zip(labels.ravel().astype(int), found, strict=True):
        if truth == guess:
            expected[0, truth] += 1
        elif truth != 255:
            expected[1, guess] += 1
            expected[2, truth] += 1
    layer = make_layer('type: "SegmentPixelIOU"', scores.shape, labels.shape)
    np.testing.assert_array_equal(layer(torch.from_numpy(scores), torch.from_numpy(labels)), expected)


@pytest.mark.parametrize("case", range(10))
def test_confusion_matrix_has_jacintos_hits_on_its_diagonal(case: int, golden: Path) -> None:
    replay = Replay(golden / "layers_jacinto" / f"SegmentationAccuracy-{case:02}.npz", "J")
    replay.problems()
    ours, theirs = replay.last["y"][0, 0].numpy(), replay.record["out/y"][0, 0]
    np.testing.assert_array_equal(np.diag(ours), np.diag(theirs))
    labels, p = replay.record["in/label"], replay.net.layer[-1].accuracy_param
    counted = labels[labels != p.ignore_label] if p.HasField("ignore_label") else labels
    np.testing.assert_array_equal(ours.sum(1), [(counted == c).sum() for c in range(len(ours))])


def test_seg_accuracy_goes_on_counting_without_reset() -> None:
    scores = torch.eye(2).reshape(1, 2, 1, 2)  # the first pixel is class 0, the second 1
    right, wrong = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[1.0, 0.0]]]])
    for reset, second in (("true", 0.0), ("false", 0.5)):
        layer = make_layer(f'type: "SegAccuracy" seg_accuracy_param {{ reset: {reset} }}', (1, 2, 1, 2), (1, 1, 1, 2))
        assert layer(scores, right).flatten().tolist() == [1, 1, 1]
        assert layer(scores, wrong).flatten()[0].item() == second


def shuffle(text: str, x: np.ndarray) -> np.ndarray:
    """The layer's top, checked to be the same in both memory formats."""
    layer, blob = make_layer(text, x.shape), torch.from_numpy(x)
    top = layer(blob)
    assert torch.equal(layer(blob.contiguous(memory_format=torch.channels_last)), top)
    return top.numpy()


def test_rearrangements() -> None:
    x = np.random.default_rng(0).normal(0, 1, (2, 8, 4, 6)).astype(np.float32)
    tiled = shuffle('type: "Tiling" tiling_param { tile_dim: 2 }', x)
    gathered = shuffle('type: "GSTiling" gs_tiling_param { stride: 2 }', x)
    spread = shuffle('type: "GSTiling" gs_tiling_param { stride: 2 reverse: true }', x)
    reorg = shuffle('type: "Reorg" reorg_param { stride: 2 }', x)
    reverse = shuffle('type: "Reorg" reorg_param { stride: 2 reverse: true }', x)
    for c in range(2):
        for y in range(8):
            for z in range(12):
                place = (y % 2) * 2 + z % 2
                assert (tiled[:, c, y, z] == x[:, c * 4 + place, y // 2, z // 2]).all()
                assert (spread[:, c, y, z] == x[:, place * 2 + c, y // 2, z // 2]).all()
                assert (reverse[:, c, y, z] == x[:, place * 2 + c, y // 2, z // 2]).all()
    assert (gathered[:, 3 * 8 + 5, 1, 2] == x[:, 5, 3, 5]).all() and gathered.shape == (2, 32, 2, 3)
    # Forward, value (c, h, w) of the flat top is value (c % 2, ...) of the bottom read as (2, 8, 12).
    read = x.reshape(2, 2, 8, 12)
    for c in range(8):
        for h in range(4):
            for w in range(6):
                theirs = read[:, c % 2, h * 2 + c // 2 // 2, w * 2 + c // 2 % 2]
                assert (reorg.reshape(2, 8, 4, 6)[:, c, h, w] == theirs).all()


TWO_MAPS = (2, 5, 6, 7), (2, 1, 6, 7)


def test_iou_accuracy_pixel_by_pixel() -> None:
    torch.manual_seed(3)
    scores, labels = torch.randn(2, 5, 6, 7), torch.randint(-1, 7, (2, 1, 6, 7)).float()
    labels[labels == 3] = 1  # class 3 occurs in neither
    scores[:, 3] = -9
    layer = make_layer('type: "IOUAccuracy" top: "mean" top: "each" accuracy_param { ignore_label: 0 }', *TWO_MAPS)
    mean, each = layer(scores, labels)
    pairs = [
        (int(t), int(f)) for t, f in zip(labels.flatten(), scores.argmax(1).flatten(), strict=True) if 0 < int(t) < 5
    ]
    expected = []
    for c in range(5):
        union = sum(c in pair for pair in pairs)
        expected.append(sum(pair == (c, c) for pair in pairs) / union if union else 0)
    assert each.tolist() == pytest.approx(expected)
    assert mean.shape == (1,) and mean.item() == pytest.approx(sum(expected) / 4)
    alone = make_layer('type: "IOUAccuracy" accuracy_param { ignore_label: 0 }', *TWO_MAPS)
    assert torch.equal(alone(scores, labels), mean)  # and nothing is left over from a batch before
    assert torch.equal(alone(scores, labels), mean)


@pytest.mark.parametrize(
    ("text", "shapes", "words"),
    [
        ('type: "SegmentPixelIOU"', [(2, 3, 4, 4), (2, 2, 4, 4)], "one map an item"),
        ('type: "SegmentPixelIOU"', [(2, 3), (2, 1)], r"'b0' has shape \(2, 3\)"),
        ('type: "DeephiResize" deephi_resize_param { new_height: 3 }', [(1, 1, 2, 2)], "together"),
        ('type: "DeephiResize" deephi_resize_param { scale_h: 0.1 }', [(1, 1, 2, 2)], "0 x 2"),
        ('type: "Tiling" tiling_param { tile_dim: 2 }', [(1, 6, 2, 2)], "6 channels"),
        ('type: "Tiling"', [(1, 6, 2, 2)], "tile_dim must be at least 1"),
        ('type: "GSTiling" gs_tiling_param { stride: 2 }', [(1, 1, 3, 2)], "multiples of stride 2"),
        ('type: "SegAccuracy"', [(1, 2, 3, 3), (1, 1, 2, 3)], "6 labels"),
        ('type: "SegmentationAccuracy" accuracy_param { top_k: 5 }', [(1, 2, 3, 3), (1, 1, 3, 3)], "top_k 5"),
    ],
)
def test_refusals(text: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(text, *shapes)
