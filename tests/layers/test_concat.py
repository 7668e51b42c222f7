"""Concat and Slice: places, old names and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.layers import LayerError
from tests.layers.make import make_layer, numbered, same_in_both_formats


@settings(max_examples=20, deadline=None)
@given(
    axis=st.integers(-4, 3),
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    old_name=st.booleans(),
)
def test_slice_undoes_concat(axis: int, sizes: list[int], old_name: bool) -> None:
    old_name = old_name and axis >= 0
    shapes = [[2, 3, 4, 5] for _ in sizes]
    for shape, size in zip(shapes, sizes, strict=True):
        shape[axis] = size
    parts = [torch.randn(shape) for shape in shapes]
    bottoms = " ".join(f'bottom: "b{i}"' for i in range(len(parts)))
    concat = make_layer(
        f'type: "Concat" {bottoms} concat_param {{ {"concat_dim" if old_name else "axis"}: {axis} }}', *shapes
    )
    whole = same_in_both_formats(concat, *parts)
    points = " ".join(f"slice_point: {point}" for point in np.cumsum(sizes)[:-1])
    tops = " ".join(f'top: "t{i}"' for i in range(len(parts)))
    name = "slice_dim" if old_name else "axis"
    back = same_in_both_formats(
        make_layer(f'type: "Slice" {tops} slice_param {{ {name}: {axis} {points} }}', whole.shape), whole
    )
    for part, again in zip(parts, back if len(parts) > 1 else [back], strict=True):
        assert torch.equal(part, again)


def test_slice_without_points_gives_equal_parts() -> None:
    top = make_layer('type: "Slice" top: "a" top: "b" top: "c"', (1, 6, 2))(numbered(1, 6, 2))
    assert [part.shape for part in top] == [(1, 2, 2)] * 3


@pytest.mark.parametrize(
    ("text", "shapes", "words"),
    [
        (
            'type: "Concat" bottom: "a" bottom: "b"',
            [(2, 3, 4), (2, 3, 5)],
            r"\(2, 3, 4\).*\(2, 3, 5\).*axis 2 \(4 and 5\)",
        ),
        ('type: "Concat" bottom: "a" bottom: "b"', [(2, 3), (2, 3, 5)], "as many axes"),
        ('type: "Concat" concat_param { axis: 1 concat_dim: 1 }', [(2, 3)], "not both"),
        ('type: "Concat" concat_param { axis: 2 }', [(2, 3)], "axis 2"),
        ('type: "Slice" top: "a" top: "b"', [(2, 3)], "2 tops cannot share"),
        (
            'type: "Slice" top: "a" top: "b" slice_param { slice_point: 1 slice_point: 2 }',
            [(2, 3)],
            "need 1 slice_point",
        ),
        ('type: "Slice" top: "a" top: "b" slice_param { slice_point: 3 }', [(2, 3)], "rise from 1 to 2"),
    ],
)
def test_refusals(text: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(text, *shapes)
