"""R-FCN's online hard example mining, against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from caffecompat.layers import LayerError
from tests.layers.make import make_layer
from tests.layers.properties import check_gradient, labels


@pytest.mark.parametrize("plane", [(), (3, 2)])
def test_the_loss_of_each_label(plane: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    scores = torch.randn(5, 4, *plane, dtype=torch.float64)
    classes = torch.randint(0, 4, (5, *plane)).double()
    classes.flatten()[1] = -1
    text = 'type: "SoftmaxWithLossOHEM" top: "loss" top: "prob" top: "each" loss_param { ignore_label: -1 }'
    layer = make_layer(text, scores.shape, classes.shape)
    loss, prob, each = layer(scores, classes)
    wanted = F.cross_entropy(scores, classes.long(), ignore_index=-1, reduction="none")
    torch.testing.assert_close(each, wanted)
    assert loss.item() == pytest.approx(wanted.sum().item() / (classes.numel() - 1))
    torch.testing.assert_close(prob, scores.softmax(1))
    given = scores.clone().requires_grad_()
    loss, _, each = layer(given, classes)
    assert loss.requires_grad and not each.requires_grad
    assert make_layer(text, scores.shape, (5, 1, *(plane or (1, 1))))(scores, classes.unsqueeze(1))[2].shape[:2] == (
        5,
        1,
    )
    check_gradient(make_layer('type: "SoftmaxWithLossOHEM"', (5, 4, *plane), (5, *plane)).double(),
                   [scores, labels(4, (5, *plane))])  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("mode", "divisor"),
    [("", 6 * 4), ("normalization: FULL", 24), ("normalization: BATCH_SIZE", 6), ("normalization: NONE", 1),
     ("normalization: PRE_FIXED pre_fixed_normalizer: 128", 128), ("normalize: false", 6)],
)  # fmt: skip
def test_smooth_l1_with_the_loss_of_each_position(mode: str, divisor: int, weighted: bool) -> None:
    rng = np.random.default_rng(2)
    a, b, w = (rng.normal(0, 2, (6, 8, 2, 2)) for _ in range(3))
    shapes = [a.shape] * (3 if weighted else 2)
    layer = make_layer(f'type: "SmoothL1LossOHEM" top: "loss" top: "each" loss_param {{ {mode} }}', *shapes)
    bottoms = [torch.from_numpy(blob) for blob in ((a, b, w) if weighted else (a, b))]
    loss, each = layer(*bottoms)
    d = (w if weighted else 1) * (a - b)
    huber = np.where(abs(d) < 1, d**2 / 2, abs(d) - 0.5)
    assert loss.item() == pytest.approx(huber.sum() / divisor)
    np.testing.assert_allclose(each.numpy(), huber.sum(1, keepdims=True))
    assert not each.requires_grad
    assert layer.needs_gradient(0) and layer.needs_gradient(1) and not layer.needs_gradient(2)
    check_gradient(make_layer(f'type: "SmoothL1LossOHEM" loss_param {{ {mode} }}', *shapes).double(), bottoms)


def test_the_loss_of_each_region_has_four_axes() -> None:
    layer = make_layer('type: "SmoothL1LossOHEM" top: "loss" top: "each"', (6, 8), (6, 8, 1, 1))
    assert layer(torch.zeros(6, 8), torch.zeros(6, 8, 1, 1))[1].shape == (6, 1, 1, 1)


def test_the_plain_types_have_these_tops_too() -> None:
    """R-FCN's nets for Matlab name them so."""
    torch.manual_seed(3)
    scores, classes, a, b = torch.randn(6, 3), torch.tensor([0.0, 1, 2, 0, 1, 2]), torch.randn(6, 8), torch.randn(6, 8)
    for kind, bottoms, tops in (
        ("SoftmaxWithLoss", (scores, classes), 'top: "l" top: "p" top: "e"'),
        ("SmoothL1Loss", (a, b), 'top: "l" top: "e"'),
    ):
        shapes = [tuple(bottom.shape) for bottom in bottoms]
        settings = f"{tops} loss_param {{ normalization: PRE_FIXED pre_fixed_normalizer: 5 }}"
        plain, mined = (make_layer(f'type: "{name}" {settings}', *shapes) for name in (kind, f"{kind}OHEM"))
        for ours, theirs in zip(plain(*bottoms), mined(*bottoms), strict=True):
            torch.testing.assert_close(ours, theirs)
    plain = make_layer('type: "SmoothL1Loss"', (2, 3, 4, 4), (2, 3, 4, 4))
    told = make_layer('type: "SmoothL1Loss" loss_param { normalization: VALID }', (2, 3, 4, 4), (2, 3, 4, 4))
    x = torch.randn(2, 3, 4, 4)
    assert plain(x, 0 * x).item() == pytest.approx(16 * told(x, 0 * x).item())


def test_other_losses_take_pre_fixed_too() -> None:
    text = 'type: "SoftmaxWithLoss" loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 8 }'
    scores, classes = torch.randn(5, 3), torch.tensor([0.0, 1, 2, 0, 1])
    wanted = F.cross_entropy(scores, classes.long(), reduction="sum").item() / 8
    assert make_layer(text, (5, 3), (5,))(scores, classes).item() == pytest.approx(wanted)


def annotate_by_loops(rois: np.ndarray, losses: np.ndarray, labels: np.ndarray, weights: np.ndarray,
                      count: int, ignore: int) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """As Caffe's loop; of equal losses the first goes first."""
    height, width = rois.shape[2:]
    kept, kept_weights = np.full_like(labels, ignore), np.zeros_like(weights)
    left = [count] * (int(rois[:, 0].max()) + 1)
    flat = losses.reshape(-1)
    for index in sorted(range(flat.size), key=lambda i: (-flat[i], i)):
        n, y, x = index // (height * width), index // width % height, index % width
        image = int(rois[n, 0, y, x])
        if left[image] > 0:
            left[image] -= 1
            kept[n, 0, y, x] = labels[n, 0, y, x]
            kept_weights[n, :, y, x] = weights[n, :, y, x]
    return kept, kept_weights


@pytest.mark.parametrize("plane", [(1, 1), (2, 3)])
def test_box_annotator(plane: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    rois = rng.uniform(0, 50, (20, 5, *plane)).astype(np.float32)
    rois[:, 0] = rng.integers(0, 3, (20, *plane))
    losses = rng.integers(0, 5, (20, 1, *plane)).astype(np.float32)  # many are equal
    classes = rng.integers(0, 21, (20, 1, *plane)).astype(np.float32)
    weights = rng.random((20, 8, *plane), np.float32)
    text = 'type: "BoxAnnotatorOHEM" top: "l" top: "w" box_annotator_ohem_param { roi_per_img: 4 ignore_label: -2 }'
    layer = make_layer(text, *(blob.shape for blob in (rois, losses, classes, weights)))
    made = layer(*map(torch.from_numpy, (rois, losses, classes, weights)))
    for ours, theirs in zip(made, annotate_by_loops(rois, losses, classes, weights, 4, -2), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)
    assert not any(layer.needs_gradient(bottom) for bottom in range(4))


def test_box_annotator_takes_rows() -> None:
    text = 'type: "BoxAnnotatorOHEM" top: "l" top: "w" box_annotator_ohem_param { roi_per_img: 1 }'
    layer = make_layer(text, (3, 5), (3,), (3,), (3, 8))
    kept, weights = layer(torch.zeros(3, 5), torch.tensor([1.0, 3, 2]), torch.tensor([4.0, 5, 6]), torch.ones(3, 8))
    assert kept.shape == (3, 1, 1, 1) and kept.flatten().tolist() == [-1, 5, -1]
    assert weights.shape == (3, 8, 1, 1) and weights.sum((1, 2, 3)).tolist() == [0, 8, 0]


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ('type: "BoxAnnotatorOHEM" top: "l" top: "w"', [(3, 5), (3,), (3,), (3, 8)], "needs roi_per_img"),
        (
            'type: "BoxAnnotatorOHEM" top: "l" top: "w" box_annotator_ohem_param { roi_per_img: 1 }',
            [(3, 5), (4,), (3,), (3, 8)],
            "'b1' of shape (4, 1, 1, 1) does not fit the regions; expected (3, 1, 1, 1)",
        ),
        (
            'type: "BoxAnnotatorOHEM" top: "l" top: "w" box_annotator_ohem_param { roi_per_img: 1 }',
            [(3, 4), (3,), (3,), (3, 8)],
            "5 values",
        ),
        ('type: "SmoothL1LossOHEM"', [(3, 4), (3, 5)], "differ in count"),
    ],
)
def test_refusals(text: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError) as problem:
        make_layer(text, *shapes)
    assert message in str(problem.value)
