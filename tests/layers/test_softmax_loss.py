"""Softmax losses with smoothed and soft labels and class weights, against torch.nn.functional.cross_entropy."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.forks import Fork
from caffecompat.layers import LayerError
from caffecompat.layers.layer import LabelError
from tests.layers.make import make_layer

CLASSES = 4
WEIGHTS = [0.5, 2.0, 1.25, 3.0]
SHAPES = {1: [(6, 4), (3, 4, 1, 1), (2, 4, 3, 5)], 2: [(2, 3, 4)]}
MODES = ["FULL", "VALID", "BATCH_SIZE", "NONE"]
KINDS = {
    "SoftmaxWithLoss": "",
    "FocalLoss": "focal_loss_param { gamma: 0 alpha: 1 }",  # is the other one then
    "SoftmaxFocalLoss": "focal_loss_param { gamma: 0 alpha: 1 }",
}


def batch(shape: tuple[int, ...], axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, class numbers and shares."""
    generator = torch.Generator().manual_seed(3)
    scores = 2 * torch.randn(shape, generator=generator, dtype=torch.double)
    positions = [*shape[:axis], *shape[axis + 1 :]]
    hard = torch.randint(0, CLASSES, positions, generator=generator)
    soft = (3 * torch.randn(shape, generator=generator, dtype=torch.double)).softmax(axis)
    return scores, hard, soft


def reference(scores: Tensor, labels: Tensor, axis: int, weighted: bool, smoothing: float) -> Tensor:
    """torch's loss of each position."""
    moved = labels.movedim(axis, 1) if labels.is_floating_point() else labels
    weight = torch.tensor(WEIGHTS, dtype=torch.double) if weighted else None
    return F.cross_entropy(scores.movedim(axis, 1), moved, weight, label_smoothing=smoothing, reduction="none")


def divided(total: Tensor, mode: str, positions: int, counted: int, items: int) -> Tensor:
    return total / {"FULL": positions, "VALID": counted, "BATCH_SIZE": items, "NONE": 1}[mode]


def text_of(kind: str, axis: int, weighted: bool, smoothing: float, mode: str, more: str = "") -> str:
    weights = f"label_weights: {WEIGHTS}" if weighted else ""
    return (
        f'type: "{kind}" {KINDS[kind]} softmax_param {{ axis: {axis} }} loss_param {{ normalization: {mode} '
        f"{weights} label_smoothing: {smoothing} {more} }}"
    )


def assert_same(layer: torch.nn.Module, scores: Tensor, labels: Tensor, wanted: Tensor, leaf: Tensor) -> None:
    """The loss, and its gradient by the scores."""
    mine = scores.detach().clone().requires_grad_()
    loss = layer(mine, labels)
    torch.testing.assert_close(loss, wanted, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(
        torch.autograd.grad(loss, mine)[0], torch.autograd.grad(wanted, leaf)[0], rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("axis", "shape"), [(axis, shape) for axis, shapes in SHAPES.items() for shape in shapes])
def test_hard_and_soft_labels_smoothed_and_weighted(kind: str, axis: int, shape: tuple[int, ...]) -> None:
    scores, hard, soft = batch(shape, axis)
    for weighted, smoothing, mode in itertools.product((False, True), (0.0, 0.125, 1.0), MODES):
        text = text_of(kind, axis, weighted, smoothing, mode)
        for labels in (hard, soft):
            leaf = scores.clone().requires_grad_()
            each = reference(leaf, labels, axis, weighted, smoothing)
            wanted = divided(each.sum(), mode, each.numel(), each.numel(), shape[0])
            assert_same(make_layer(text, shape, labels.shape), scores, labels.double(), wanted, leaf)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("last", [False, True])
def test_ignored_positions_of_maps(kind: str, last: bool) -> None:
    shape = (2, 4, 3, 5)
    scores, hard, soft = batch(shape, 1)
    ignored = torch.arange(30).reshape(2, 3, 5) % 4 == 1
    hard[ignored] = 255
    soft = soft.masked_fill(ignored[:, None], 255)
    if last:
        scores, soft = (x.contiguous(memory_format=torch.channels_last) for x in (scores, soft))
    counted = int((~ignored).sum())
    for mode in MODES:
        text = text_of(kind, 1, True, 0.25, mode, "ignore_label: 255")
        for labels in (hard, soft):
            leaf = scores.clone().requires_grad_()
            clean = labels.masked_fill(labels == 255, 0)
            each = reference(leaf, clean, 1, True, 0.25)[~ignored]
            wanted = divided(each.sum(), mode, 30, counted, 2)
            assert_same(make_layer(text, shape, labels.shape), scores, labels.double(), wanted, leaf)


def test_torch_ignores_the_same_positions() -> None:
    """F.cross_entropy's ignore_index with its mean is VALID, where no classes are weighted."""
    scores, hard, _ = batch((2, 4, 3, 5), 1)
    hard[:, 1] = 2
    layer = make_layer(text_of("SoftmaxWithLoss", 1, False, 0.1, "VALID", "ignore_label: 2"), scores.shape, hard.shape)
    leaf = scores.clone().requires_grad_()
    wanted = F.cross_entropy(leaf, hard, ignore_index=2, label_smoothing=0.1)
    assert_same(layer, scores, hard.double(), wanted, leaf)


def test_an_ignored_zero_is_no_class_without_a_share() -> None:
    soft = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.25, 0.75]])
    layer = make_layer('type: "SoftmaxWithLoss" loss_param { ignore_label: 0 }', (3, 2), (3, 2))
    scores = torch.tensor([[1.0, 2.0], [5.0, 0.0], [0.0, 0.5]])
    wanted = F.cross_entropy(scores[[0, 2]], soft[[0, 2]])
    torch.testing.assert_close(layer(scores, soft), wanted)


@pytest.mark.parametrize(
    ("scores", "labels", "soft"),
    [
        ((2, 4, 1, 1), (2, 4), True),  # Mixup's labels of a net that ends in a pooling
        ((2, 4), (2, 4, 1, 1), True),
        ((2, 4, 3, 2), (2, 1, 3, 2), False),
        ((4, 4), (4, 4), True),
        ((4, 4), (4, 1), False),
        ((2, 1), (2, 1), False),  # one class: its number, 0
        ((2, 1, 3, 3), (2, 1, 3, 3), False),
    ],
)
def test_the_shape_shows_whether_labels_are_soft(scores: tuple[int, ...], labels: tuple[int, ...], soft: bool) -> None:
    layer = make_layer('type: "SoftmaxWithLoss"', scores, labels)
    values = torch.full(labels, 0.25) if soft else torch.zeros(labels)
    x = torch.arange(float(torch.Size(scores).numel())).reshape(scores).sin()
    if not soft:
        want = F.cross_entropy(x, torch.zeros((scores[0], *scores[2:]), dtype=torch.long))
    else:
        want = F.cross_entropy(x, torch.full(scores, 0.25))
    torch.testing.assert_close(layer(x, values), want)


def test_the_third_top_has_the_smoothed_loss_of_each_label() -> None:
    scores, hard, soft = batch((2, 4, 3, 5), 1)
    text = text_of("SoftmaxWithLoss", 1, True, 0.25, "NONE") + ' top: "l" top: "p" top: "e"'
    for labels in (hard[:, None], soft):
        loss, p, each = make_layer(text, scores.shape, labels.shape)(scores, labels.double())
        wanted = reference(scores, hard if labels is not soft else soft, 1, True, 0.25)[:, None]
        torch.testing.assert_close(each, wanted, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(loss, wanted.sum(), rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(p, scores.softmax(1))


def test_focal_loss_of_soft_labels_is_the_sum_of_each_class_share() -> None:
    scores, hard, soft = batch((5, 4), 1)
    text = 'type: "FocalLoss" focal_loss_param { gamma: 2 alpha: 0.25 } loss_param { normalization: NONE %s }'
    log_p = scores.log_softmax(1)
    losses = 0.25 * (1 - log_p.exp()) ** 2 * -log_p * torch.tensor(WEIGHTS)
    weights = f"label_weights: {WEIGHTS}"
    for more, labels, target in (
        (weights, hard, F.one_hot(hard, 4).double()),
        (weights, soft, soft),
        (weights + " label_smoothing: 0.5", hard, F.one_hot(hard, 4) / 2 + 0.125),
    ):
        layer = make_layer(text % more, scores.shape, labels.shape)
        torch.testing.assert_close(layer(scores, labels.double()), (target * losses).sum(), rtol=1e-6, atol=1e-7)
        assert torch.autograd.gradcheck(
            lambda s, layer=layer, labels=labels: layer(s, labels.double()), scores.clone().requires_grad_()
        )


def test_class_weighting_of_enet_with_smoothing() -> None:
    scores, hard, _ = batch((6, 4), 1)
    text = f"weight_by_label_freqs: true class_weighting: {WEIGHTS} label_smoothing: 0.25"
    layer = make_layer(f'type: "SoftmaxWithLoss" loss_param {{ {text} }}', (6, 4), (6,), fork=Fork.ENET)
    wanted = reference(scores, hard, 1, True, 0.25).mean()
    torch.testing.assert_close(layer(scores, hard.double()), wanted, rtol=1e-6, atol=1e-7)


def test_where_no_probability_is_left_the_gradient_still_is() -> None:
    scores = torch.tensor([[0.0, 500.0]], requires_grad=True)
    layer = make_layer('type: "SoftmaxWithLoss" loss_param { label_smoothing: 0.5 }', (1, 2), (1,))
    layer(scores, torch.zeros(1)).backward()
    torch.testing.assert_close(scores.grad, torch.tensor([[-0.75, 0.75]]))


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "FocalLoss"])
@pytest.mark.parametrize(
    ("fields", "scores", "labels", "words"),
    [
        ("label_smoothing: -0.1", (2, 3), (2,), "label_smoothing -0.1 must be from 0 to 1"),
        ("label_smoothing: 1.5", (2, 3), (2,), "label_smoothing 1.5"),
        ("label_weights: [1, 2]", (2, 3), (2,), "2 class weights for 3 classes"),
        ("", (2, 3, 4), (2, 4, 3), r"24 labels.*must be 8.*soft labels have the shape of the scores"),
    ],
)
def test_refusals(kind: str, fields: str, scores: tuple[int, ...], labels: tuple[int, ...], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(f'type: "{kind}" loss_param {{ {fields} }}', scores, labels)


@pytest.mark.parametrize("wrong", [5.0, -0.5, float("nan")])
def test_class_numbers_in_the_shape_of_soft_labels_are_named(wrong: float) -> None:
    soft = torch.full((2, 3), 1 / 3)
    soft[1, 2] = wrong
    with pytest.raises(
        LabelError, match=rf"soft label {wrong:g} in 'b1' of shape \(2, 3\), batch item 1, index \(2,\)"
    ):
        make_layer('type: "SoftmaxWithLoss"', (2, 3), (2, 3))(torch.zeros(2, 3), soft)
