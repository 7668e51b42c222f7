"""Losses and Accuracy with random shapes, axes, ignored labels and normalizations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.layers.make import make_layer
from tests.layers.properties import check_gradient, check_layer, distinct, examples, labels

MODES = st.sampled_from(["FULL", "VALID", "BATCH_SIZE", "NONE"])
BATCHES = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)


def check_loss(text: str, *bottoms: Tensor, within: float = 1e-5) -> Tensor:
    """A loss is one number, the same in both phases, which each item has a part in."""
    [loss] = check_layer(text, *bottoms, per_item=False, within=within)
    assert loss.shape == () and loss.isfinite()
    return loss


@st.composite
def classified(draw: st.DrawFn) -> tuple[Tensor, Tensor, int, int]:
    """Scores, labels for every position, the class axis, and a label to ignore (which may not occur)."""
    shape = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    axis = draw(st.integers(1, len(shape) - 1))
    truth = draw(st.lists(st.integers(0, shape[axis] - 1), min_size=256, max_size=256))
    positions = [*shape[:axis], *shape[axis + 1 :]]
    count = torch.Size(positions).numel()
    return (
        distinct(tuple(shape)),
        torch.tensor(truth[:count]).double().reshape(positions),
        axis,
        draw(st.integers(0, 4)),
    )


def divisor(mode: str, scores: Tensor, counted: Tensor) -> float:
    sizes = {"FULL": counted.numel(), "VALID": int(counted.sum()), "BATCH_SIZE": scores.shape[0], "NONE": 1}
    return max(1, sizes[mode])


@examples
@given(case=classified(), mode=MODES, ignores=st.booleans())
def test_softmax_with_loss(case: tuple[Tensor, Tensor, int, int], mode: str, ignores: bool) -> None:
    scores, truth, axis, ignored = case
    fields = f"normalization: {mode} {f'ignore_label: {ignored}' if ignores else ''}"
    text = f'type: "SoftmaxWithLoss" loss_param {{ {fields} }} softmax_param {{ axis: {axis} }}'
    loss = check_loss(text, scores, truth)
    counted = truth != ignored if ignores else torch.ones_like(truth, dtype=torch.bool)
    rows = scores.movedim(axis, -1).reshape(-1, scores.shape[axis])
    each = F.cross_entropy(rows, truth.long().reshape(-1), reduction="none")
    expected = (each * counted.reshape(-1)).sum() / divisor(mode, scores, counted)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(check_loss(text, scores + 3, truth), loss)
    with_probabilities = make_layer(f'{text} top: "loss" top: "p"', scores.shape, truth.shape).double()
    torch.testing.assert_close(with_probabilities(scores, truth)[1], scores.softmax(axis))


@examples
@given(shape=BATCHES, mode=MODES, ignores=st.booleans())
def test_sigmoid_cross_entropy_loss(shape: tuple[int, ...], mode: str, ignores: bool) -> None:
    targets = labels(2, shape)
    fields = f"normalization: {mode} {'ignore_label: 0' if ignores else ''}"
    scores = distinct(shape) * 3
    loss = check_loss(f'type: "SigmoidCrossEntropyLoss" loss_param {{ {fields} }}', scores, targets)
    counted = targets != 0 if ignores else torch.ones_like(targets, dtype=torch.bool)
    each = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    torch.testing.assert_close(loss, (each * counted).sum() / divisor(mode, scores, counted))


@examples
@given(case=classified(), mode=MODES)
def test_infogain_loss(case: tuple[Tensor, Tensor, int, int], mode: str) -> None:
    scores, truth, axis, _ = case
    classes = scores.shape[axis]
    gain = distinct((classes, classes), least=0.1)
    text = f'type: "InfogainLoss" loss_param {{ normalization: {mode} }} infogain_loss_param {{ axis: {axis} }}'
    check_loss(text, scores, truth, gain)
    # With the unit matrix it is the softmax loss.
    loss = check_loss(text, scores, truth, torch.eye(classes, dtype=torch.float64))
    text = f'type: "SoftmaxWithLoss" loss_param {{ normalization: {mode} }} softmax_param {{ axis: {axis} }}'
    torch.testing.assert_close(loss, check_loss(text, scores, truth))


@examples
@given(items=st.integers(1, 5), classes=st.integers(1, 5))
def test_multinomial_logistic_loss(items: int, classes: int) -> None:
    probabilities = distinct((items, classes), least=0.1)
    truth = labels(classes, (items,))
    loss = check_loss('type: "MultinomialLogisticLoss"', probabilities, truth)
    picked = probabilities.gather(1, truth.long()[:, None])
    torch.testing.assert_close(loss, -picked.log().mean())


@examples
@given(items=st.integers(1, 5), classes=st.integers(1, 5), norm=st.sampled_from(["L1", "L2"]))
def test_hinge_loss(items: int, classes: int, norm: str) -> None:
    check_loss(
        f'type: "HingeLoss" hinge_loss_param {{ norm: {norm} }}',
        distinct((items, classes)),
        labels(classes, (items,)),
    )


@examples
@given(shape=BATCHES)
def test_euclidean_loss(shape: tuple[int, ...]) -> None:
    a, b = distinct((2, *shape))
    loss = check_loss('type: "EuclideanLoss"', a, b)
    torch.testing.assert_close(loss, (a - b).square().sum() / (2 * shape[0]))


@examples
@given(
    items=st.integers(1, 5), size=st.integers(1, 4), margin=st.floats(0.5, 4), legacy=st.booleans(), axes=st.booleans()
)
def test_contrastive_loss(items: int, size: int, margin: float, legacy: bool, axes: bool) -> None:
    fields = f"margin: {margin} legacy_version: {str(legacy).lower()}"
    shape = (items, size, 1, 1) if axes else (items, size)
    a, b = distinct((2, *shape))
    # Caffe divides by the distance + 1e-4.
    within = 1e-5 if legacy else 1e-2
    check_loss(
        f'type: "ContrastiveLoss" contrastive_loss_param {{ {fields} }}', a, b, labels(2, (items,)), within=within
    )


@examples
@given(case=classified(), data=st.data(), ignores=st.booleans())
def test_accuracy(case: tuple[Tensor, Tensor, int, int], data: st.DataObject, ignores: bool) -> None:
    scores, truth, axis, ignored = case
    top_k = data.draw(st.integers(1, scores.shape[axis]))
    fields = f"axis: {axis} top_k: {top_k} {f'ignore_label: {ignored}' if ignores else ''}"
    text = f'type: "Accuracy" top: "share" top: "by_class" accuracy_param {{ {fields} }}'
    share, by_class = check_layer(text, scores, truth, per_item=False)
    counted = truth != ignored if ignores else torch.ones_like(truth, dtype=torch.bool)
    hit = (scores.topk(top_k, axis).indices == truth.unsqueeze(axis)).any(axis) & counted
    torch.testing.assert_close(share, hit.sum() / max(1, counted.sum()), check_dtype=False)
    for number in range(scores.shape[axis]):
        there = counted & (truth == number)
        expected = hit[there].double().mean() if there.any() else torch.tensor(0.0)
        torch.testing.assert_close(by_class[number], expected, check_dtype=False)


@examples
@given(shape=BATCHES, weight=st.floats(-2, 2))
def test_the_gradient_scales_with_the_weight_of_the_loss(shape: tuple[int, ...], weight: float) -> None:
    a, b = distinct((2, *shape))
    layer = make_layer('type: "EuclideanLoss"', shape, shape).double()
    check_gradient(layer, [a, b])
    a.requires_grad_()
    (plain,) = torch.autograd.grad(layer(a, b), a)
    (weighted,) = torch.autograd.grad(layer(a, b) * weight, a)
    torch.testing.assert_close(weighted, plain * weight)
