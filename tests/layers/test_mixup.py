"""Mixup: what each item becomes, how often and how much, against numpy draws of timm's definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from caffecompat.layers import LayerError
from caffecompat.layers.functional.mixup import Box, cut_box
from caffecompat.layers.layer import LabelError
from caffecompat.layers.mixup import Mixup
from caffecompat.schema import pb
from tests.layers.make import make_layer

CLASSES, SIZE = 8, (12, 10)
LABELS = torch.tensor([3.0, 0.0, 7.0, 5.0, 1.0, 6.0])


def make(fields: str, count: int = 6, tops: str = "", phase: int = pb.TRAIN) -> Mixup:
    text = f'type: "Mixup" top: "d" top: "s" {tops} mixup_param {{ num_classes: {CLASSES} {fields} }}'
    layer = make_layer(text, (count, 2, *SIZE), (count,), phase=phase)
    assert isinstance(layer, Mixup)
    return layer


def pictures(count: int = 6) -> Tensor:
    return torch.rand((count, 2, *SIZE), generator=torch.Generator().manual_seed(2))


def shares_of(soft: Tensor, labels: Tensor) -> Tensor:
    """The share of each item's own class; labels of partners differ."""
    torch.testing.assert_close(soft.sum(1), torch.ones(len(soft)))
    return soft.gather(1, labels.long()[:, None])[:, 0]


def check_mixed(x: Tensor, top: Tensor, shares: Tensor) -> None:
    for item, share in enumerate(shares.tolist()):
        wanted = x[item] * share + x[-1 - item] * (1 - share)
        torch.testing.assert_close(top[item], wanted, rtol=1e-5, atol=1e-5)


def check_cut(x: Tensor, top: Tensor, shares: Tensor) -> list[tuple[int, int, int, int]]:
    """All pixels are the item's but for a box of the partner's, of the share that the label says; the boxes."""
    boxes = []
    for item, share in enumerate(shares.tolist()):
        cut = (top[item] != x[item]).all(0)
        assert torch.equal(cut, (top[item] != x[item]).any(0))
        assert 1 - cut.float().mean().item() == pytest.approx(share, abs=1e-6)
        rows, columns = cut.any(1).nonzero().flatten().tolist(), cut.any(0).nonzero().flatten().tolist()
        box = (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) if rows else (0, 0, 0, 0)
        inside = (slice(box[0], box[1]), slice(box[2], box[3]))
        assert bool(cut[inside].all()) and int(cut.sum()) == (box[1] - box[0]) * (box[3] - box[2])
        assert torch.equal(top[item][:, cut], x[-1 - item][:, cut])
        boxes.append(box)
    return boxes


@pytest.mark.parametrize("mode", ["BATCH", "PAIR", "ELEM"])
def test_mixup_by_the_share_of_the_label(mode: str) -> None:
    layer, x = make(f"mode: {mode}"), pictures()
    torch.manual_seed(4)
    for _ in range(5):
        top, soft = layer(x, LABELS)
        shares = shares_of(soft, LABELS)
        check_mixed(x, top, shares)
        if mode == "BATCH":
            torch.testing.assert_close(shares, shares[:1].expand(6))
        elif mode == "PAIR":
            torch.testing.assert_close(shares, shares.flip(0))
        assert len(set(np.round(shares.tolist(), 5))) == {"BATCH": 1, "PAIR": 3, "ELEM": 6}[mode]
        assert torch.equal(x, pictures())


@pytest.mark.parametrize("mode", ["BATCH", "PAIR", "ELEM"])
def test_cutmix_puts_in_a_box_of_the_partner(mode: str) -> None:
    layer, x = make(f"mixup_alpha: 0 cutmix_alpha: 1 mode: {mode}"), pictures()
    torch.manual_seed(4)
    for _ in range(20):
        top, soft = layer(x, LABELS)
        boxes = check_cut(x, top, shares_of(soft, LABELS))
        if mode == "BATCH":
            assert len(set(boxes)) == 1
        elif mode == "PAIR":
            assert boxes == boxes[::-1]


def reference_share(rng: np.random.Generator, alpha: float, cut: bool) -> float:
    """timm's share: Beta, and for cutmix what a box leaves whose half sides are cut to integers and clipped."""
    share = rng.beta(alpha, alpha)
    if not cut:
        return share
    area = 1
    for length in SIZE:
        half, middle = int(length * math.sqrt(1 - share)) // 2, rng.integers(length)
        area *= np.clip(middle + half, 0, length) - np.clip(middle - half, 0, length)
    return 1 - area / (SIZE[0] * SIZE[1])


@pytest.mark.parametrize(("alpha", "cut"), [(0.2, False), (1.0, False), (4.0, False), (0.5, True), (1.0, True)])
def test_shares_are_distributed_as_the_definition_says(alpha: float, cut: bool) -> None:
    fields = f"mixup_alpha: 0 cutmix_alpha: {alpha}" if cut else f"mixup_alpha: {alpha}"
    layer, count = make(f"{fields} mode: ELEM", 2000), 2000
    labels = torch.cat([torch.zeros(count // 2), torch.ones(count // 2)])
    torch.manual_seed(6)
    shares = shares_of(layer(pictures(count), labels)[1], labels).numpy()
    rng = np.random.default_rng(0)
    wanted = np.array([reference_share(rng, alpha, cut) for _ in range(20000)])
    # The two distributions differ nowhere by more than what chance does once in ten thousand times.
    grid = np.linspace(0, 1, 400)
    distance = max(abs((shares <= at).mean() - (wanted <= at).mean()) for at in grid)
    assert distance < 2.2 * math.sqrt(1 / count + 1 / 20000)


def test_how_often_items_are_mixed_and_cut() -> None:
    layer, count = make("cutmix_alpha: 1 prob: 0.6 switch_prob: 0.3 mode: ELEM", 4000), 4000
    x, labels = pictures(count), torch.cat([torch.zeros(count // 2), torch.ones(count // 2)])
    torch.manual_seed(8)
    top, _ = layer(x, labels)
    same = (top == x).flatten(1)
    untouched = same.all(1)
    cut = ~untouched & same.any(1)
    # A cut of less than two pixels along an axis is none: about one in fourteen here.
    assert abs(untouched.float().mean().item() - (0.4 + 0.18 / 14)) < 0.04
    assert abs(cut.float().mean().item() - 0.18 * 13 / 14) < 0.03


def test_one_draw_decides_for_the_batch() -> None:
    layer, x = make("cutmix_alpha: 1 prob: 0.5"), pictures()
    torch.manual_seed(9)
    kinds = {"none": 0, "mixup": 0, "cutmix": 0}
    for _ in range(200):
        top, soft = layer(x, LABELS)
        shares = shares_of(soft, LABELS)
        if torch.equal(top, x):
            kinds["none"] += 1
            assert (shares == 1).all()
        elif (top == x).any():
            kinds["cutmix"] += 1
            check_cut(x, top, shares)
        else:
            kinds["mixup"] += 1
            check_mixed(x, top, shares)
    assert kinds["none"] > 70 and kinds["mixup"] > 25 and kinds["cutmix"] > 25


@pytest.mark.parametrize("mode", ["BATCH", "PAIR", "ELEM"])
def test_the_middle_of_an_odd_batch_stays(mode: str) -> None:
    layer, x = make(f"mode: {mode}", 5), pictures(5)
    top, soft = layer(x, LABELS[:5])
    torch.testing.assert_close(top[2], x[2])
    assert soft[2].tolist() == [0.0] * 7 + [1.0]
    check_mixed(x, top, shares_of(soft, LABELS[:5]))


def test_in_test_everything_passes() -> None:
    layer, x = make("cutmix_alpha: 1", tops='top: "h"', phase=pb.TEST), pictures()
    top, soft, hard = layer(x, LABELS)
    assert top is x and hard is LABELS
    assert torch.equal(soft, torch.nn.functional.one_hot(LABELS.long(), CLASSES).float())


def test_from_an_iteration_on_nothing_is_mixed() -> None:
    layer, x = make("off_iter: 3"), pictures()
    for iteration, mixes in ((0, True), (2, True), (3, False), (4, False)):
        layer.iteration = iteration
        assert torch.equal(layer(x, LABELS)[0], x) != mixes


def test_the_hard_labels_are_those_of_the_items() -> None:
    layer, labels = make("", tops='top: "h"'), LABELS.reshape(6, 1, 1, 1)
    assert torch.equal(layer(pictures(), labels)[2], labels)


def test_data_of_any_shape_is_mixed_and_passes_gradients_back() -> None:
    layer = make_layer('type: "Mixup" top: "d" top: "s" mixup_param { num_classes: 2 mode: ELEM }', (2, 3), (2,))
    x = torch.randn(2, 3, requires_grad=True)
    top, soft = layer(x, torch.tensor([0.0, 1.0]))
    check_mixed(x.detach(), top.detach(), soft.diagonal())
    top[0].sum().backward()
    share = soft[0, 0].item()
    torch.testing.assert_close(x.grad, torch.tensor([[share] * 3, [1 - share] * 3]))
    assert [layer.needs_gradient(k) for k in range(2)] == [True, False]


@pytest.mark.parametrize(
    ("share", "center", "box"),
    [
        (0.75, (6, 5), Box(3, 9, 3, 7)),  # half of each side: 6 x 5, cut to 6 x 4
        (0.75, (0, 9), Box(0, 3, 7, 10)),
        (0.0, (6, 5), Box(0, 12, 0, 10)),
        (1.0, (6, 5), Box(6, 6, 5, 5)),
    ],
)
def test_boxes(share: float, center: tuple[int, int], box: Box) -> None:
    assert cut_box(share, SIZE, center) == box


@pytest.mark.parametrize(
    ("fields", "data", "labels", "words"),
    [
        ("", (2, 3), (2,), "needs num_classes"),
        ("num_classes: 3 mixup_alpha: 0", (2, 3), (2,), "mixup_alpha 0 and cutmix_alpha 0: one must be above 0"),
        ("num_classes: 3 cutmix_alpha: -1", (2, 3, 4, 4), (2,), "cutmix_alpha -1"),
        ("num_classes: 3 prob: 1.5", (2, 3), (2,), "prob 1.5 must be from 0 to 1"),
        ("num_classes: 3 switch_prob: -1", (2, 3), (2,), "switch_prob -1 must be"),
        ("num_classes: 3 off_iter: -1", (2, 3), (2,), "off_iter -1"),
        ("num_classes: 3", (2, 3), (2, 3), r"6 labels .* data of shape \(2, 3\); it takes one class number an item"),
        ("num_classes: 3 cutmix_alpha: 1", (2, 3), (2,), r"cutmix_alpha needs pictures \(N, C, H, W\)"),
    ],
)
def test_refusals(fields: str, data: tuple[int, ...], labels: tuple[int, ...], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(f'type: "Mixup" top: "d" top: "s" mixup_param {{ {fields} }}', data, labels)


def test_labels_outside_are_named() -> None:
    labels = LABELS.clone()
    labels[4] = 8
    with pytest.raises(LabelError, match=r"label 8 in 'b1'.*batch item 4.*8 classes.*set mixup_param.num_classes"):
        make("")(pictures(), labels)
