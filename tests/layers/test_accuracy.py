"""Accuracy against Caffe's two rules written out, with many ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.forks import Fork
from caffecompat.layers import LayerError
from tests.layers.make import make_layer


def hit(row: np.ndarray, label: int, top_k: int, fork: Fork) -> bool:
    if fork is Fork.BVLC:
        return int((row >= row[label]).sum()) - 1 < top_k
    pairs = sorted(zip(row, range(len(row)), strict=True), reverse=True)
    return label in [index for _, index in pairs[:top_k]]


@settings(max_examples=40, deadline=None)
@given(
    fork=st.sampled_from([Fork.BVLC, Fork.XILINX]),
    top_k=st.integers(1, 4),
    ignored=st.sampled_from([None, 1, 255]),
    last=st.booleans(),
    strange=st.booleans(),
    seed=st.integers(0, 999),
)
def test_accuracy(fork: Fork, top_k: int, ignored: int | None, last: bool, strange: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (2, 4, 3, 2)).astype(np.float32)
    labels = rng.integers(0, 4, (2, 1, 3, 2)).astype(np.float32)
    if ignored == 255:
        labels[rng.random(labels.shape) < 0.3] = 255
    for value in (-1, 4, 254, np.nan) if strange else ():
        labels[rng.random(labels.shape) < 0.1] = value
    skip = "" if ignored is None else f"ignore_label: {ignored}"
    layer = make_layer(
        f'type: "Accuracy" top: "a" top: "b" accuracy_param {{ top_k: {top_k} {skip} }}',
        *[scores.shape, labels.shape],
        fork=fork,
    )
    pairs = [
        (row, -1 if np.isnan(label) else int(label))
        for row, label in zip(np.moveaxis(scores, 1, -1).reshape(-1, 4), labels.ravel(), strict=True)
    ]
    pairs = [(row, label) for row, label in pairs if label != ignored]
    right = [[hit(row, label, top_k, fork) for row, label in pairs if label == c] for c in range(4)]
    # Labels that are no class are in the denominator and nowhere else.
    x = torch.from_numpy(scores)
    share, each = layer(x.contiguous(memory_format=torch.channels_last) if last else x, torch.from_numpy(labels))
    np.testing.assert_allclose(share, sum(map(sum, right)) / len(pairs), rtol=1e-6)
    np.testing.assert_allclose(each, [sum(c) / len(c) if c else 0 for c in right], rtol=1e-6)


@pytest.mark.parametrize("fork", Fork)
def test_the_first_label_that_is_no_class_gives_one_warning(fork: Fork, capsys: pytest.CaptureFixture[str]) -> None:
    layer = make_layer('name: "acc" type: "Accuracy" top: "a" top: "b"', (4, 3), (4,), fork=fork)
    for _ in range(2):
        share, each = layer(torch.eye(4, 3), torch.tensor([0.0, 2, 255, -7]))
        assert share.item() == 0.25 and each.tolist() == [1, 0, 0]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "layer 'acc' (Accuracy): 2 of the batch's 4 labels are outside the 3 classes (the first is 255)" in lines[0]


def test_nothing_to_count_is_0_in_bvlc_and_nan_in_the_forks() -> None:
    for fork in (Fork.BVLC, Fork.XILINX):
        layer = make_layer('type: "Accuracy" accuracy_param { ignore_label: 1 }', (2, 3), (2,), fork=fork)
        share = layer(torch.zeros(2, 3), torch.ones(2)).item()
        assert share == 0 if fork is Fork.BVLC else math.isnan(share)


def test_scores_that_are_all_alike_are_wrong_in_bvlc_only() -> None:
    for fork, expected in ((Fork.BVLC, 0.0), (Fork.XILINX, 1.0)):
        layer = make_layer('type: "Accuracy"', (3, 4), (3,), fork=fork)
        assert layer(torch.zeros(3, 4), torch.full((3,), 3.0)).item() == expected


def test_more_than_255_classes() -> None:
    scores = torch.arange(300.0).expand(2, 300)
    layer = make_layer('type: "Accuracy" accuracy_param { top_k: 260 }', (2, 300), (2,))
    assert layer(scores, torch.tensor([40.0, 39.0])).item() == 0.5


@pytest.mark.parametrize(
    ("text", "shapes", "words"),
    [
        ('type: "Accuracy"', [(2, 3, 4, 4), (2, 1, 4, 3)], r"24 labels \(shape \(2, 1, 4, 3\)\).*must be 32"),
        ('type: "Accuracy" accuracy_param { top_k: 4 }', [(2, 3), (2,)], "top_k 4 must be 1 to 3"),
        ('type: "Accuracy" accuracy_param { axis: 2 }', [(2, 3), (2,)], "axis 2"),
    ],
)
def test_refusals(text: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(text, *shapes)
