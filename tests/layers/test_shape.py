"""Layers that only move values: shapes, places, gradients and refusals."""

from __future__ import annotations

import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer, numbered, same_in_both_formats


@pytest.mark.parametrize(
    ("param", "shape"),
    [
        ("shape { dim: 0 dim: 0 dim: 20 dim: 1 }", (2, 3, 20, 1)),
        ("shape { dim: 0 dim: -1 }", (2, 60)),
        ("shape { dim: -1 dim: 0 dim: 2 }", (20, 3, 2)),
        ("shape { dim: 12 } axis: 1 num_axes: 2", (2, 12, 5)),
        ("shape { dim: 1 } axis: 1 num_axes: 0", (2, 1, 3, 4, 5)),
        ("shape { dim: 1 dim: 1 } axis: -1", (2, 3, 4, 5, 1, 1)),
        ("shape { dim: 10 dim: -1 } axis: -3", (2, 3, 10, 2)),
        ("shape { } axis: 1 num_axes: 0", (2, 3, 4, 5)),
    ],
)
def test_reshape(param: str, shape: tuple[int, ...]) -> None:
    layer = make_layer(f'type: "Reshape" reshape_param {{ {param} }}', (2, 3, 4, 5))
    top = same_in_both_formats(layer, numbered(2, 3, 4, 5))
    assert top.shape == shape and torch.equal(top.flatten(), numbered(120))


def test_reshape_serves_other_batch_sizes() -> None:
    layer = make_layer('type: "Reshape" reshape_param { shape { dim: 0 dim: -1 } }', (2, 3, 4))
    assert layer(torch.zeros(5, 2, 2)).shape == (5, 4)


def test_flatten_and_permute_keep_caffes_order() -> None:
    x = numbered(2, 3, 4, 5)
    flat = make_layer('type: "Flatten" flatten_param { axis: 1 end_axis: -2 }', x.shape)
    assert torch.equal(same_in_both_formats(flat, x), x.reshape(2, 12, 5))
    permute = make_layer('type: "Permute" permute_param { order: 0 order: 2 }', x.shape)
    assert torch.equal(same_in_both_formats(permute, x), x.permute(0, 2, 1, 3))


def test_transpose_names_the_axis_of_the_bottom_for_each_of_the_top() -> None:
    x = numbered(2, 3, 4, 5).requires_grad_()
    layer = make_layer('type: "Transpose" transpose_param { dim: 3 dim: 0 dim: 2 dim: 1 }', x.shape)
    top = same_in_both_formats(layer, x)
    assert top.shape == (5, 2, 4, 3) and top[4, 1, 2, 0] == x[1, 0, 2, 4]
    top[1, 0, 3, 2].backward()
    assert x.grad.sum() == 1 and x.grad[0, 2, 3, 1] == 1


def test_split_adds_gradients_up() -> None:
    x = torch.zeros(3).requires_grad_()
    first, second = make_layer('type: "Split" top: "a" top: "b"', (3,))(x)
    (first.sum() + 2 * second.sum()).backward()
    assert x.grad.tolist() == [3, 3, 3]


def test_tile_repeats_whole_blocks() -> None:
    top = make_layer('type: "Tile" tile_param { tiles: 2 }', (1, 2, 2))(numbered(1, 2, 2))
    assert top.tolist() == [[[0, 1], [2, 3], [0, 1], [2, 3]]]


def test_batch_reindex_and_filter() -> None:
    x = numbered(3, 2).requires_grad_()
    reindex = make_layer('type: "BatchReindex"', (3, 2), (4,))
    top = reindex(x, torch.tensor([2.0, 0.0, 2.0, 2.0]))
    top.sum().backward()
    assert top[:, 0].tolist() == [4, 0, 4, 4] and x.grad[:, 0].tolist() == [1, 0, 3]
    keep = make_layer('type: "Filter" top: "a" top: "b"', (3, 2), (3,), (3, 1))
    a, b = keep(x, numbered(3), torch.tensor([[1.0], [0.0], [-2.0]]))
    assert a[:, 0].tolist() == [0, 4] and b.tolist() == [0, 2]
    assert [keep.needs_gradient(i) for i in range(3)] == [True, True, False]
    none, _ = keep(x, numbered(3), torch.zeros(3, 1))
    assert none.shape == (0, 2)


def test_silence_has_no_tops() -> None:
    layer = make_layer('type: "Silence" bottom: "a"', (2, 3))
    assert layer(torch.zeros(2, 3)) == ()


REFUSALS = [
    ('type: "Reshape" reshape_param { shape { dim: 0 dim: 4 } }', [(2, 3)], "6 values.*2 x 4"),
    ('type: "Reshape" reshape_param { shape { dim: -1 dim: 4 } }', [(2, 3)], "6 values"),
    ('type: "Reshape" reshape_param { shape { dim: -1 dim: -1 } }', [(2, 3)], "only one dim"),
    ('type: "Reshape" reshape_param { shape { dim: 2 dim: 3 dim: 0 } }', [(2, 3)], "keeps axis 2"),
    ('type: "Reshape" reshape_param { axis: 3 }', [(2, 3)], "axis 3"),
    ('type: "Reshape" reshape_param { axis: 1 num_axes: 2 }', [(2, 3)], "reaches past"),
    ('type: "Flatten" flatten_param { axis: 2 end_axis: 1 }', [(2, 3, 4)], "comes after end_axis"),
    ('type: "Permute" permute_param { order: 0 order: 0 }', [(2, 3)], "at most once"),
    ('type: "Transpose"', [(2, 3)], r"dim \[\] must list each of the axes 0 to 1 once"),
    ('type: "Transpose" transpose_param { dim: 1 dim: 0 }', [(2, 3, 4)], r"dim \[1, 0\] must list .* 0 to 2"),
    ('type: "Transpose" transpose_param { dim: 0 dim: -1 }', [(2, 3)], r"dim \[0, -1\] must"),
    ('type: "Transpose" bottom: "x" top: "x" transpose_param { dim: 1 dim: 0 }', [(2, 3)], "cannot work in place"),
    ('type: "Tile"', [(2, 3)], "tiles is missing"),
    ('type: "BatchReindex"', [(3, 2), (4, 1)], "list of numbers"),
    ('type: "Filter" bottom: "a" bottom: "s"', [(3, 2), (2,)], "'a' has 3 items, the selector 2"),
]


@pytest.mark.parametrize(("text", "shapes", "words"), REFUSALS)
def test_refusals(text: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(text, *shapes)


def test_batch_reindex_refuses_items_that_are_not_there() -> None:
    layer = make_layer('name: "pick" type: "BatchReindex"', (3, 2), (1,))
    with pytest.raises(LayerError, match=r"'pick'.*items 3 to 3.*0 to 2"):
        layer(torch.zeros(3, 2), torch.tensor([3.0]))
