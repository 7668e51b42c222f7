"""Losses: values written out by hand, gradients by differences, normalization, ignored and wrong labels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from caffecompat.forks import Fork
from caffecompat.layers import LayerError
from caffecompat.schema import pb
from tests.layers.make import make_layer

SCORES, LABELS = (2, 4, 3, 5), (2, 1, 3, 5)


def scores_and_labels(seed: int = 0, ignored: int | None = None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(SCORES, generator=generator, dtype=torch.double)
    labels = torch.randint(0, 4, LABELS, generator=generator).double()
    if ignored is not None:
        labels[torch.rand(LABELS, generator=generator) < 0.3] = ignored
    return scores, labels


def softmax_loss(
    scores: Tensor, labels: Tensor, ignored: int | None, weights: list[float] | None = None
) -> tuple[float, int]:
    """Sum of the losses and count of the labels that are not ignored, one position after the other."""
    total, count = 0.0, 0
    for n in range(SCORES[0]):
        for y in range(SCORES[2]):
            for x in range(SCORES[3]):
                label = int(labels[n, 0, y, x])
                if label == ignored:
                    continue
                row = scores[n, :, y, x].numpy()
                p = math.exp(row[label]) / np.exp(row).sum()
                total -= math.log(p) * (weights[label] if weights else 1)
                count += 1
    return total, count


@settings(max_examples=15, deadline=None)
@given(
    mode=st.sampled_from(
        ["", "normalize: false", "normalize: true", *(f"normalization: {m}" for m in ("FULL", "NONE"))]
    ),
    ignored=st.sampled_from([None, 2, 255]),
    last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_softmax_loss_and_its_gradient(mode: str, ignored: int | None, last: bool, seed: int) -> None:
    scores, labels = scores_and_labels(seed, ignored)
    skip = "" if ignored is None else f"ignore_label: {ignored}"
    layer = make_layer(f'type: "SoftmaxWithLoss" loss_param {{ {skip} {mode} }}', SCORES, LABELS)
    total, count = softmax_loss(scores, labels, ignored)
    divisor = {"normalize: false": 2, "normalization: FULL": 30, "normalization: NONE": 1}.get(mode, max(count, 1))
    if last:
        scores = scores.contiguous(memory_format=torch.channels_last)
    assert layer(scores, labels).item() == pytest.approx(total / divisor, rel=1e-6)
    assert torch.autograd.gradcheck(lambda s: layer(s, labels), scores.requires_grad_())


@pytest.mark.parametrize(("axis", "shape"), [(1, (6, 4)), (-1, (2, 3, 4)), (0, (4, 5)), (2, (2, 3, 4, 2))])
def test_softmax_loss_on_any_axis_takes_labels_of_any_shape(axis: int, shape: tuple[int, ...]) -> None:
    scores = torch.randn(shape, dtype=torch.double)
    rows = scores.movedim(axis, -1).reshape(-1, 4)
    labels = torch.arange(len(rows)) % 4
    expected = torch.nn.functional.cross_entropy(rows, labels)
    place = torch.empty(shape).movedim(axis, -1)[..., 0].shape
    for form in {(len(rows),), (len(rows), 1, 1, 1), tuple(place)}:
        if form[0] == shape[0]:
            layer = make_layer(f'type: "SoftmaxWithLoss" softmax_param {{ axis: {axis} }}', shape, form)
            assert layer(scores, labels.double().reshape(form)).item() == pytest.approx(expected.item())


def test_softmax_loss_is_limited_but_its_gradient_is_not() -> None:
    scores = torch.tensor([[0.0, 500.0]]).requires_grad_()
    loss = make_layer('type: "SoftmaxWithLoss"', (1, 2), (1,))(scores, torch.zeros(1))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(np.finfo(np.float32).tiny), rel=1e-5)
    assert scores.grad.tolist() == [[-1, 1]]


def test_second_top_is_the_softmax_without_gradient() -> None:
    scores, labels = scores_and_labels()
    loss, p = make_layer('type: "SoftmaxWithLoss" top: "loss" top: "p"', SCORES, LABELS)(
        scores.requires_grad_(), labels
    )
    torch.testing.assert_close(p, scores.softmax(1))
    assert loss.requires_grad and not p.requires_grad


def test_all_labels_ignored_is_no_loss_at_all() -> None:
    layer = make_layer('type: "SoftmaxWithLoss" loss_param { ignore_label: 255 }', (1, 3), (1,))
    scores = torch.randn(1, 3).requires_grad_()
    loss = layer(scores, torch.tensor([255.0]))
    loss.backward()
    assert loss == 0 and scores.grad.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("fork", "text", "weighs"),
    [
        (Fork.ENET, "weight_by_label_freqs: true class_weighting: [1, 2, 0.5, 3] normalization: NONE", True),
        (Fork.BVLC, "weight_by_label_freqs: true class_weighting: [1, 2, 0.5, 3]", True),
        (Fork.ENET, "class_weighting: [1, 2, 0.5, 3]", False),
        (Fork.XILINX, "weight_by_label_freqs: true class_weighting: [1, 2, 0.5, 3]", False),
        (Fork.JACINTO, "label_weights: [1, 2, 0.5, 3]", True),
    ],
)
def test_class_weights_of_the_forks(fork: Fork, text: str, weighs: bool) -> None:
    scores, labels = scores_and_labels()
    layer = make_layer(f'type: "SoftmaxWithLoss" loss_param {{ {text} }}', SCORES, LABELS, fork=fork)
    total, count = softmax_loss(scores, labels, None, [1, 2, 0.5, 3] if weighs else None)
    assert layer(scores, labels).item() == pytest.approx(total / count, rel=1e-6)
    assert torch.autograd.gradcheck(lambda s: layer(s, labels), scores.requires_grad_())


@pytest.mark.parametrize(
    ("label", "shown"), [(4, "label 4"), (-1, "label -1"), (254, "label 254"), (float("nan"), "label nan")]
)
@pytest.mark.parametrize("type_name", ["SoftmaxWithLoss", "InfogainLoss"])
def test_wrong_labels_are_named_with_their_place(type_name: str, label: float, shown: str) -> None:
    scores, labels = scores_and_labels(ignored=255)
    labels[1, 0, 2, 3] = label
    extra = [(4, 4)] if type_name == "InfogainLoss" else []
    text = f'name: "top1" type: "{type_name}" loss_param {{ ignore_label: 255 }} accuracy_param {{ ignore_label: 255 }}'
    layer = make_layer(text, SCORES, LABELS, *extra)
    with pytest.raises(LayerError) as error:
        layer(scores, labels, *map(torch.zeros, extra))
    for words in (
        "'top1'",
        shown,
        "'b1'",
        "batch item 1, row 2, column 3",
        "4 classes",
        "0 to 3",
        "1 of the batch's 30 labels is outside",
        "ignore_label",
    ):
        assert words in str(error.value)


def test_labels_on_meta_tensors_are_not_looked_at() -> None:
    layer = make_layer('type: "SoftmaxWithLoss"', SCORES, LABELS)
    assert layer(torch.empty(SCORES, device="meta"), torch.empty(LABELS, device="meta")).shape == ()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 99), ignored=st.sampled_from([None, 1]))
def test_infogain_of_the_unit_matrix_is_the_softmax_loss(seed: int, ignored: int | None) -> None:
    scores, labels = scores_and_labels(seed)
    skip = "" if ignored is None else f"loss_param {{ ignore_label: {ignored} }}"
    layer = make_layer(f'type: "InfogainLoss" {skip}', SCORES, LABELS, (1, 1, 4, 4))
    total, count = softmax_loss(scores, labels, ignored)
    assert layer(scores, labels, torch.eye(4).reshape(1, 1, 4, 4)).item() == pytest.approx(total / count, rel=1e-6)
    gains = torch.rand(4, 4).double()
    assert torch.autograd.gradcheck(lambda s: layer(s, labels, gains), scores.requires_grad_())


def test_infogain_of_the_forks_takes_probabilities_and_reads_its_matrix(tmp_path: Path) -> None:
    gains = np.array([[1, 0.5], [0.25, 2]], np.float32)
    file = tmp_path / "H.binaryproto"
    file.write_bytes(pb.BlobProto(num=1, channels=1, height=2, width=2, data=gains.ravel()).SerializeToString())
    text = f'type: "InfogainLoss" infogain_loss_param {{ source: "{file}" }}'
    layer = make_layer(text, (2, 2), (2,), fork=Fork.SSD)
    p = torch.tensor([[0.25, 0.75], [1.0, 0.0]]).requires_grad_()
    loss = layer(p, torch.tensor([0.0, 1.0]))
    loss.backward()
    expected = -(math.log(0.25) + 0.5 * math.log(0.75) + 2 * math.log(1e-20)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(p.grad, [[-2, -1 / 3], [-0.125, -1e20]], rtol=1e-5)


def test_multinomial_logistic_loss_limits_the_logarithm() -> None:
    p = torch.tensor([[0.25, 0.75], [1.0, 0.0]]).requires_grad_()
    loss = make_layer('type: "MultinomialLogisticLoss"', (2, 2), (2, 1, 1, 1))(p, torch.ones(2, 1, 1, 1))
    loss.backward()
    assert loss.item() == pytest.approx(-(math.log(0.75) + math.log(1e-20)) / 2, rel=1e-6)
    np.testing.assert_allclose(p.grad, [[0, -2 / 3], [0, -5e19]], rtol=1e-5)


@pytest.mark.parametrize(("norm", "expected"), [("L1", (0.5 + 3) / 2), ("L2", (0.25 + 9) / 2)])
def test_hinge_loss(norm: str, expected: float) -> None:
    scores = torch.tensor([[2.0, -0.5, -1.0], [2.0, 2.0, -1.0]], dtype=torch.double)
    layer = make_layer(f'type: "HingeLoss" hinge_loss_param {{ norm: {norm} }}', (2, 3), (2,))
    assert layer(scores, torch.tensor([0.0, 1.0])).item() == pytest.approx(expected)
    scores += 0.1
    assert torch.autograd.gradcheck(lambda s: layer(s, torch.tensor([0.0, 1.0])), scores.requires_grad_())


@pytest.mark.parametrize(
    ("mode", "divisor"), [("", 2), ("normalization: VALID", 5), ("normalization: FULL", 6), ("normalize: true", 5)]
)
def test_sigmoid_cross_entropy(mode: str, divisor: int) -> None:
    x = torch.tensor([[0.5, -2, 30], [-30, 0, 1]], dtype=torch.double)
    t = torch.tensor([[1, 0.25, 1], [0, -1, 0]], dtype=torch.double)
    layer = make_layer(f'type: "SigmoidCrossEntropyLoss" loss_param {{ ignore_label: -1 {mode} }}', x.shape, t.shape)
    losses = -(t * torch.sigmoid(x).log() + (1 - t) * torch.sigmoid(-x).log())
    losses[1, 1] = 0
    assert layer(x, t).item() == pytest.approx(losses.sum().item() / divisor)
    assert torch.autograd.gradcheck(lambda s: layer(s, t), x.requires_grad_())


@pytest.mark.parametrize("type_name", ["SoftmaxWithLoss", "HingeLoss", "SigmoidCrossEntropyLoss", "InfogainLoss"])
def test_labels_get_no_gradient(type_name: str) -> None:
    shapes = [(2, 3), (2, 3) if "Sigmoid" in type_name else (2,), (3, 3)][: 3 if type_name == "InfogainLoss" else 2]
    layer = make_layer(f'type: "{type_name}"', *shapes)
    assert [layer.needs_gradient(i) for i in range(len(shapes))] == [True] + [False] * (len(shapes) - 1)
    assert layer.is_loss and layer.default_loss_weight(0) == 1


REFUSALS = [
    ('type: "SoftmaxWithLoss"', [(2, 3, 4, 4), (2, 1, 4, 5)], r"40 labels.*\(2, 3, 4, 4\).*must be 32"),
    ('type: "SoftmaxWithLoss"', [(2, 3), (3,)], r"'b0' of shape \(2, 3\) and 'b1' of shape \(3,\).*batch items"),
    ('type: "SoftmaxWithLoss" softmax_param { axis: 4 }', [(2, 3), (2,)], "axis 4"),
    ('type: "SoftmaxWithLoss" loss_param { label_weights: 1 }', [(2, 3), (2,)], "1 class weights for 3 classes"),
    ('type: "SoftmaxWithLoss" loss_param { weight_by_label_freqs: true }', [(2, 3), (2,)], "class_weighting"),
    ('type: "HingeLoss"', [(2, 3), (2, 2)], "4 labels"),
    ('type: "SigmoidCrossEntropyLoss"', [(2, 3), (2, 4)], "differ in count"),
    ('type: "InfogainLoss"', [(2, 3), (2,)], "source"),
    ('type: "InfogainLoss"', [(2, 3), (2,), (2, 2)], r"shape \(2, 2\).*C x C for 3"),
    ('type: "InfogainLoss" infogain_loss_param { source: "/nowhere/H" }', [(2, 3), (2,)], "/nowhere/H"),
]


@pytest.mark.parametrize(("text", "shapes", "words"), REFUSALS)
def test_refusals(text: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(text, *shapes)


def test_infogain_matrix_in_a_file_of_another_kind(tmp_path: Path) -> None:
    file = tmp_path / "H"
    for content, words in (
        (b"\xff\xff\xff", "not a binary BlobProto"),
        (pb.BlobProto(data=[1, 2]).SerializeToString(), "square"),
    ):
        file.write_bytes(content)
        with pytest.raises(LayerError, match=words):
            make_layer(f'type: "InfogainLoss" infogain_loss_param {{ source: "{file}" }}', (2, 3), (2,))
