"""Crop: places, gradients and refusals."""

from __future__ import annotations

import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer, numbered, same_in_both_formats


def test_crop_takes_sizes_from_the_reference_and_passes_it_no_gradient() -> None:
    x, reference = numbered(1, 2, 6, 7).requires_grad_(), torch.zeros(1, 9, 3, 2)
    layer = make_layer('type: "Crop" crop_param { offset: 1 offset: 4 }', x.shape, reference.shape)
    top = same_in_both_formats(layer, x, reference)
    assert torch.equal(top, x[:, :, 1:4, 4:6])
    top.sum().backward()
    assert x.grad.sum() == 12 and x.grad[0, 1, 3, 5] == 1
    assert [layer.needs_gradient(i) for i in (0, 1)] == [True, False]


@pytest.mark.parametrize(
    ("text", "shapes", "words"),
    [
        ('type: "Crop" crop_param { offset: 1 }', [(1, 1, 4, 4), (1, 1, 4, 3)], "axis 2: 4 values from offset 1"),
        (
            'type: "Crop" crop_param { axis: 1 offset: 1 offset: 1 }',
            [(1, 1, 4, 4), (1, 1, 2, 2)],
            "2 offset values for 3",
        ),
    ],
)
def test_refusals(text: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(text, *shapes)
