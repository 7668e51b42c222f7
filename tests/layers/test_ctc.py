"""CtcLoss and LabelsequenceAccuracy: against sums over all paths, torch's ctc_loss and a loop over the steps."""

from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers import Layer, LayerError
from caffecompat.layers.layer import LabelError
from caffecompat.net.meta import run_on_meta
from tests.layers.make import make_layer


def ctc_loss(classes: int, blank: int, steps: int, *shapes: tuple[int, ...]) -> Layer:
    text = f"alphabet_size: {classes} blank_label: {blank} time_step: {steps}"
    return make_layer(f'type: "CtcLoss" ctc_loss_param {{ {text} }}', *shapes).double()


def read(path: list[int], blank: int) -> list[int]:
    """Repeats merged, then blanks removed."""
    return [label for label, _ in groupby(path) if label != blank]


def cost(scores: np.ndarray, sequence: list[int], blank: int) -> float:
    """-log of the sum over every path of (steps, classes) that reads as the sequence."""
    probability = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    steps, classes = scores.shape
    paths = (path for path in product(range(classes), repeat=steps) if read(list(path), blank) == sequence)
    return -float(np.log(sum(probability[range(steps), path].prod() for path in paths)))


@pytest.mark.parametrize(("blank", "rows"), [
    (2, [[0, 1, 2], [1, 2, 2], [0, 0, 2], [2, 2, 2]]),
    (0, [[1, 2, 0], [0, 2, 1], [1, 0, 1], [2, 2, 0]]),  # blanks between labels are no labels either
    (1, [[0, 2, 0], [1, 0, 1], [1, 1, 1], [2, 0, 0]]),
])  # fmt: skip
def test_the_value_is_the_mean_over_the_items_of_the_costs_of_all_paths(blank: int, rows: list[list[int]]) -> None:
    scores = np.random.default_rng(blank).normal(0, 1.5, (5, 4, 3))
    layer = ctc_loss(3, blank, 5, (5, 4, 3), (4, 3))
    value = layer(torch.from_numpy(scores), torch.tensor(rows).double())
    wanted = [cost(scores[:, n], [v for v in row if v != blank], blank) for n, row in enumerate(rows)]
    assert value.item() == pytest.approx(np.mean(wanted), rel=1e-12)


def test_the_gradient_is_that_of_the_sum_times_the_weight() -> None:
    rows = torch.tensor([[0, 1], [1, 1], [2, 3]]).double()
    scores = torch.randn((6, 3, 4), dtype=torch.double, generator=torch.Generator().manual_seed(1)).requires_grad_()
    layer = ctc_loss(4, 3, 6, (6, 3, 4), (3, 2))
    (0.5 * layer(scores, rows)).backward()
    step = 1e-5
    for place in product(range(6), range(3), range(4)):
        shifted = torch.zeros_like(scores)
        shifted[place] = step
        with torch.no_grad():
            slope = (layer(scores + shifted, rows) - layer(scores - shifted, rows)) / (2 * step)
        assert scores.grad is not None
        assert scores.grad[place].item() == pytest.approx(0.5 * 3 * slope.item(), abs=1e-8)
    assert layer.needs_gradient(0) and not layer.needs_gradient(1)


def test_as_torch_has_it() -> None:
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn((20, 7, 11), generator=generator)
    labels = torch.randint(0, 10, (7, 6), generator=generator)
    labels[3, 4:] = labels[5, 1:] = 10
    lengths = (labels != 10).sum(1)
    given = scores.clone().requires_grad_()
    loss = make_layer('type: "CtcLoss" ctc_loss_param { alphabet_size: 11 blank_label: 10 time_step: 20 }',
                      scores.shape, labels.shape)(given, labels.float())  # fmt: skip
    loss.backward()
    theirs = scores.clone().requires_grad_()
    total = F.ctc_loss(theirs.log_softmax(2), labels, torch.full((7,), 20), lengths, 10, reduction="sum")
    total.backward()
    torch.testing.assert_close(loss * 7, total)
    torch.testing.assert_close(given.grad, theirs.grad)


def test_without_settings_all_steps_count_and_class_0_is_the_blank() -> None:
    scores = np.random.default_rng(5).normal(0, 1, (4, 2, 3))
    value = make_layer('type: "CtcLoss"', scores.shape, (2, 2)).double()(
        torch.from_numpy(scores), torch.tensor([[1.0, 2], [2, 0]])
    )
    assert value.item() == pytest.approx((cost(scores[:, 0], [1, 2], 0) + cost(scores[:, 1], [2], 0)) / 2)


def test_labels_with_axes_of_one_and_steps_behind_time_step() -> None:
    scores = np.random.default_rng(4).normal(0, 1, (5, 2, 3, 1))
    bottom = torch.from_numpy(scores).requires_grad_()
    layer = ctc_loss(3, 2, 4, scores.shape, (2, 2, 1, 1))
    value = layer(bottom, torch.tensor([[0.0, 1.9], [1, 2]]).double()[..., None, None])  # fractions are cut off
    wanted = [cost(scores[:4, 0, :, 0], [0, 1], 2), cost(scores[:4, 1, :, 0], [1], 2)]
    assert value.item() == pytest.approx(np.mean(wanted))
    value.backward()
    assert bottom.grad is not None
    assert bottom.grad[4].abs().max() == 0 < bottom.grad[:4].abs().min()


def test_a_sequence_that_no_path_is_long_enough_for_costs_nothing() -> None:
    scores = torch.randn((3, 3, 4), dtype=torch.double, requires_grad=True)
    rows = [[0, 1, 2, 0], [0, 0, 1, 3], [0, 1, 2, 3]]  # four labels; three and a blank between the first two; three
    value = ctc_loss(4, 3, 3, (3, 3, 4), (3, 4))(scores, torch.tensor(rows).double())
    wanted = cost(scores.detach().numpy()[:, 2], [0, 1, 2], 3) / 3
    assert value.item() == pytest.approx(wanted)
    value.backward()
    assert scores.grad is not None
    assert scores.grad[:, :2].abs().max() == 0 and torch.isfinite(scores.grad).all()


def test_scores_that_are_far_apart_and_small_types() -> None:
    scores = torch.tensor([[[300.0, 0, -300]], [[-300, 0, 300]]])
    layer = ctc_loss(3, 2, 2, (2, 1, 3), (1, 1)).float()
    assert layer(scores, torch.ones(1, 1)).item() == pytest.approx(300)  # 1, then blank
    small = layer(scores.bfloat16(), torch.ones(1, 1))
    assert small.dtype == torch.bfloat16 and small.item() == 300


@pytest.mark.parametrize(("text", "shapes", "words"), [
    ("time_step: 2", [(2, 3, 4), (3, 2)], "needs alphabet_size"),
    ("alphabet_size: 4", [(2, 3, 4), (3, 2)], "needs time_step"),
    ("alphabet_size: 4 time_step: 2 blank_label: 4", [(2, 3, 4), (3, 2)], "blank_label 4 is not one of the 4 classes"),
    ("alphabet_size: 4 time_step: 2 blank_label: -1", [(2, 3, 4), (3, 2)], "blank_label -1 is not one"),
    ("alphabet_size: 5 time_step: 2", [(2, 3, 4), (3, 2)], r"must be \(steps, items, 5\), .* \(2, 3, 4\)"),
    ("alphabet_size: 4 time_step: 3", [(2, 3, 4), (3, 2)], "time_step 3 is more than the steps of 'b0', 2"),
    ("alphabet_size: 4 time_step: 3", [(3, 2, 4), (3, 2)], r"number of batch items \(axis 1 and axis 0\)"),
    ("alphabet_size: 4 time_step: 2", [(2, 3, 4), (3,)], r"'b1' must be \(items, places\)"),
    ("alphabet_size: 4 time_step: 2", [(2, 3, 4), (3, 1, 1, 5)], r"'b1' must be \(items, places\)"),
])  # fmt: skip
def test_what_the_loss_refuses(text: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(f'type: "CtcLoss" ctc_loss_param {{ {text} }}', *shapes)


def test_labels_that_the_loss_refuses() -> None:
    layer = ctc_loss(4, 3, 5, (5, 2, 4), (2, 2))
    with pytest.raises(LabelError, match=r"label -1 in 'b1' .*batch item 1, index \(1,\).*filled up with the blank_labe"
                                         r"l, 3") as caught:  # fmt: skip
        layer(torch.zeros(5, 2, 4), torch.tensor([[0.0, 1], [2, -1]]))
    assert caught.value.item == 1 and "ignore_label" not in str(caught.value)
    with pytest.raises(LabelError, match=r"4 in 'b1'.*not one of the 4 classes"):
        layer(torch.zeros(5, 2, 4), torch.tensor([[0.0, 4], [2, 1]]))
    with pytest.raises(LabelError, match="all 4 labels of the batch in 'b1' are the blank_label, 3"):
        layer(torch.zeros(5, 2, 4), torch.full((2, 2), 3.0))


def accuracy(scores: Tensor, labels: Tensor, blank: int) -> Tensor:
    text = f'type: "LabelsequenceAccuracy" labelsequence_accuracy_param {{ blank_label: {blank} }}'
    top: Tensor = make_layer(text, scores.shape, labels.shape)(scores, labels)
    return top


@pytest.mark.parametrize("places", [1, 3, 9])
@pytest.mark.parametrize("blank", [0, 2])
def test_accuracy_of_whole_sequences(blank: int, places: int) -> None:
    rng = np.random.default_rng(places)
    scores = rng.normal(0, 1, (200, 4, 3)).astype(np.float32)
    paths = scores.argmax(2).tolist()
    labels = np.full((200, places), blank, np.float32)
    for row, path in zip(labels, paths, strict=True):  # half of them what is read, where there is room; others drawn
        label = read(path, blank) if rng.random() < 0.5 else rng.integers(0, 3, places).tolist()
        row[-len(label) or places :] = label[:places]  # after blanks
    right = [read(path, blank) == [int(v) for v in row if v != blank] for path, row in zip(paths, labels, strict=True)]
    assert 20 < sum(right) < 180
    assert accuracy(torch.from_numpy(scores), torch.from_numpy(labels), blank).item() == pytest.approx(np.mean(right))


def test_accuracy_merges_repeats_takes_the_first_of_equals_and_counts_other_labels_as_wrong() -> None:
    paths = torch.tensor([[1, 1, 0, 1], [1, 2, 2, 0], [2, 2, 2, 2]])
    scores = F.one_hot(paths, 3).float()
    assert accuracy(scores, torch.tensor([[1.0, 1], [1, 2], [2, 0]]), 0) == 1
    assert accuracy(scores, torch.tensor([[1.0, 0], [1, 2], [2, 2]]), 0) == pytest.approx(1 / 3)
    assert accuracy(scores, torch.tensor([[1.0, 1], [7, 2], [-1, 2]]), 0) == pytest.approx(1 / 3)
    assert accuracy(torch.zeros(1, 3, 4), torch.tensor([[0.0, 3]]), 3) == 1  # all equal: class 0 at each step


@pytest.mark.parametrize(("blank", "shapes", "words"), [
    (3, [(2, 5, 3), (2, 2)], "labelsequence_accuracy_param: blank_label 3 is not one of the 3 classes"),
    (0, [(2, 5), (2, 2)], r"'b0' must be \(items, steps, classes\)"),
    (0, [(2, 5, 1, 3), (2, 2)], r"'b0' must be \(items, steps, classes\)"),
    (0, [(2, 5, 3), (2,)], r"'b1' must be \(items, places\)"),
    (0, [(5, 2, 3), (2, 2)], "scores of CtcLoss have the steps first: permute axes 0 and 1"),
])  # fmt: skip
def test_what_the_measure_refuses(blank: int, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        text = f'type: "LabelsequenceAccuracy" labelsequence_accuracy_param {{ blank_label: {blank} }}'
        make_layer(text, *shapes)


def test_labels_outside_are_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    layer = make_layer('type: "LabelsequenceAccuracy"', (1, 3, 2), (1, 2))
    for _ in range(2):
        layer(torch.zeros(1, 3, 2), torch.tensor([[1.0, 5]]))
    said = capsys.readouterr().err
    assert said.count("the first is 5") == 1 and "filled up with the blank_label, 0" in said


def test_shapes_are_found_without_values() -> None:
    layer = ctc_loss(4, 3, 5, (5, 2, 4), (2, 2))
    assert run_on_meta(layer, [(5, 2, 4), (2, 2)]).shape == ()
    measure = make_layer('type: "LabelsequenceAccuracy"', (2, 5, 4), (2, 2))
    assert run_on_meta(measure, [(2, 5, 4), (2, 2)]).shape == () and not measure.needs_gradient(0)
    assert layer.default_loss_weight(0) == 1 and measure.default_loss_weight(0) == 0
