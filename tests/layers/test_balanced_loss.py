"""SigmoidCrossEntropyLoss as HED's and RCF's Caffe have it, against loops over single values."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from caffecompat import glog
from caffecompat.forks import Fork
from caffecompat.layers import Context, layer_class
from caffecompat.schema import parse_text, pb

FACTORS = {Fork.HED: 1.0, Fork.RCF: 1.1}


def loss_layer(fork: Fork, shape: tuple[int, ...], more: str = "") -> Any:
    text = f'name: "loss" type: "SigmoidCrossEntropyLoss" bottom: "score" bottom: "label" top: "loss" {more}'
    cls = layer_class("SigmoidCrossEntropyLoss")
    return cls(parse_text(text, pb.LayerParameter()), [shape, shape], Context(pb.TRAIN, fork))


def by_hand(scores: torch.Tensor, labels: torch.Tensor, factor: float) -> float:
    total = 0.0
    for row, marks in zip(scores.flatten(1).tolist(), labels.flatten(1).tolist(), strict=True):
        ones, zeros = marks.count(1), marks.count(0)
        for score, mark in zip(row, marks, strict=True):
            if mark == 1:
                total += zeros / (ones + zeros) * math.log1p(math.exp(-score))
            elif mark == 0:
                total += factor * ones / (ones + zeros) * math.log1p(math.exp(score))
    return total / len(scores)


@pytest.mark.parametrize(("fork", "want"), [(Fork.HED, 1.0397), (Fork.RCF, 1.0917), (Fork.BVLC, 2.7726)])
def test_one_edge_pixel_of_four(fork: Fork, want: float) -> None:
    labels = torch.tensor([[[[1.0, 0, 0, 0]]]])
    assert loss_layer(fork, (1, 1, 1, 4))(torch.zeros(1, 1, 1, 4), labels).item() == pytest.approx(want, abs=5e-5)


@pytest.mark.parametrize("fork", FACTORS)
def test_images_are_balanced_one_by_one(fork: Fork) -> None:
    torch.manual_seed(1)
    scores = torch.randn(3, 1, 5, 4)
    labels = torch.randint(0, 3, scores.shape).float()
    labels[0, 0, 0, 0] = 0.4  # what RCF's data layer makes of an edge that few people drew
    loss = loss_layer(fork, (3, 1, 5, 4))(scores, labels)
    assert loss.item() == pytest.approx(by_hand(scores, labels, FACTORS[fork]), rel=1e-5)


@pytest.mark.parametrize("fork", FACTORS)
def test_gradient(fork: Fork) -> None:
    """weight (sigmoid - label) / images; nothing where the label is neither 0 nor 1."""
    scores = torch.randn(2, 1, 2, 3, requires_grad=True)
    labels = torch.tensor([[1.0, 0, 0, 2, 0, 255], [1, 1, 0, -1, 0.5, 1]]).reshape(2, 1, 2, 3)
    loss_layer(fork, (2, 1, 2, 3))(scores, labels).backward()
    counts = [(1, 3), (3, 1)]
    for image, (ones, zeros) in enumerate(counts):
        for at, label in enumerate(labels[image].flatten().tolist()):
            weight = {1: zeros, 0: ones * FACTORS[fork]}.get(label, 0) / (ones + zeros)
            value = torch.sigmoid(scores.detach()[image].flatten()[at]).item() - label
            want = weight * value / 2 if label in (0, 1) else 0
            assert scores.grad[image].flatten()[at].item() == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("fork", FACTORS)
@pytest.mark.parametrize("label", [0.0, 1.0, 2.0])
def test_an_image_with_one_label_alone_counts_nothing(fork: Fork, label: float) -> None:
    scores = torch.randn(2, 1, 2, 2, requires_grad=True)
    labels = torch.full((2, 1, 2, 2), label)
    labels[1, 0, 0] = torch.tensor([1.0, 0.0])
    layer = loss_layer(fork, (2, 1, 2, 2))
    loss = layer(scores, labels)
    loss.backward()
    assert loss.item() == pytest.approx(by_hand(scores.detach()[1:], labels[1:], FACTORS[fork]) / 2, rel=1e-5)
    assert not scores.grad[0].any() and scores.grad[1].any()


def test_large_scores_stay_finite() -> None:
    scores = torch.tensor([[[[200.0, -200, 200, -200]]]])
    loss = loss_layer(Fork.HED, (1, 1, 1, 4))(scores, torch.tensor([[[[1.0, 1, 0, 0]]]]))
    assert loss.item() == pytest.approx(200.0)


@pytest.mark.parametrize("setting", ["normalization: VALID", "normalize: true", "ignore_label: 2"])
def test_settings_that_these_forks_do_not_obey_are_told(setting: str) -> None:
    lines: list[str] = []
    glog.set_sink(lines.append)
    try:
        loss_layer(Fork.RCF, (1, 4), f"loss_param {{ {setting} }}")
    finally:
        glog.set_sink(None)
    assert len(lines) == 1 and "loss_param has no effect in RCF Caffe" in lines[0]
