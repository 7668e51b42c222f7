"""Eltwise, Softmax, Reduction and ArgMax with random parameters and shapes."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.layers.properties import check_layer, distinct, examples

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@st.composite
def places(draw: st.DrawFn, first: int = 0) -> tuple[tuple[int, ...], int, int]:
    """A shape, one of its axes from `first` on, and that axis as a prototxt may write it (also from the end)."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=first + 1, max_size=4)))
    axis = draw(st.integers(first, len(shape) - 1))
    return shape, axis, draw(st.sampled_from([axis, axis - len(shape)]))


@examples
@given(shape=SHAPES, count=st.integers(2, 4), operation=st.sampled_from(["SUM", "PROD", "MAX"]), data=st.data())
def test_eltwise(shape: tuple[int, ...], count: int, operation: str, data: st.DataObject) -> None:
    fields = f"operation: {operation} "
    if operation == "SUM" and data.draw(st.booleans()):
        fields += " ".join(f"coeff: {data.draw(st.floats(-2, 2)):.4f}" for _ in range(count))
    together = distinct((count, *shape))  # no two bottoms have an equal value anywhere
    check_layer(f'type: "Eltwise" eltwise_param {{ {fields} }}', *together)


@examples
@given(place=places())
def test_softmax(place: tuple[tuple[int, ...], int, int]) -> None:
    shape, axis, stated = place
    text = f'type: "Softmax" softmax_param {{ axis: {stated} }}'
    [top] = check_layer(text, distinct(shape), per_item=axis > 0)
    torch.testing.assert_close(top.sum(axis), torch.ones_like(top.sum(axis)))
    [shifted] = check_layer(text, distinct(shape) * 1000, per_item=False, gradient=False)
    assert shifted.isfinite().all()


@examples
@given(
    place=places(),
    operation=st.sampled_from(["SUM", "ASUM", "SUMSQ", "MEAN"]),
    coeff=st.floats(-2, 2),
)
def test_reduction(place: tuple[tuple[int, ...], int, int], operation: str, coeff: float) -> None:
    shape, axis, stated = place
    fields = f"operation: {operation} axis: {stated} coeff: {coeff:.4f}"
    [top] = check_layer(f'type: "Reduction" reduction_param {{ {fields} }}', distinct(shape), per_item=axis > 0)
    assert top.shape == shape[:axis]


@examples
@given(place=places(), values=st.booleans(), data=st.data())
def test_arg_max_along_an_axis(place: tuple[tuple[int, ...], int, int], values: bool, data: st.DataObject) -> None:
    shape, axis, stated = place
    top_k = data.draw(st.integers(1, shape[axis]))
    text = f'type: "ArgMax" argmax_param {{ axis: {stated} top_k: {top_k} out_max_val: {str(values).lower()} }}'
    bottom = distinct(shape)
    [top] = check_layer(text, bottom, per_item=axis > 0)
    greatest, indices = bottom.topk(top_k, axis)
    assert torch.equal(top, greatest if values else indices.double())


@examples
@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=5).map(tuple), values=st.booleans(), data=st.data())
def test_arg_max_over_items(shape: tuple[int, ...], values: bool, data: st.DataObject) -> None:
    count = torch.Size(shape[1:]).numel()
    top_k = data.draw(st.integers(1, count))
    text = f'type: "ArgMax" argmax_param {{ top_k: {top_k} out_max_val: {str(values).lower()} }}'
    bottom = distinct(shape)
    [top] = check_layer(text, bottom)
    greatest, indices = bottom.reshape(shape[0], -1).topk(top_k, 1)
    rows = top.reshape(shape[0], -1, top_k)
    assert torch.equal(rows[:, 0], indices.double())
    assert rows.shape[1] == 1 + values and (not values or torch.equal(rows[:, 1], greatest))
