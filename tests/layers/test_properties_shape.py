"""Layers that move values, with random parameters and shapes, and how they undo each other."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.layers.make import make_layer
from tests.layers.properties import check_gradient, check_layer, distinct, examples, tops_of
from tests.layers.test_properties_elementwise import places

Place = tuple[tuple[int, ...], int, int]


@examples
@given(place=places(), sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_concat_and_slice_undo_each_other(place: Place, sizes: list[int]) -> None:
    shape, axis, stated = place
    parts = [distinct((*shape[:axis], size, *shape[axis + 1 :])) for size in sizes]
    text = f'type: "Concat" concat_param {{ axis: {stated} }}'
    [joined] = check_layer(text, *parts, per_item=axis > 0)
    points = torch.tensor(sizes).cumsum(0)[:-1].tolist()
    fields = " ".join([f"axis: {stated}", *(f"slice_point: {point}" for point in points)])
    tops = " ".join(f'top: "t{index}"' for index in range(len(sizes)))
    cut = check_layer(f'type: "Slice" {tops} slice_param {{ {fields} }}', joined, per_item=axis > 0)
    assert all(torch.equal(part, piece) for part, piece in zip(parts, cut, strict=True))


@examples
@given(place=places(), count=st.integers(1, 4))
def test_slice_into_equal_parts(place: Place, count: int) -> None:
    shape, axis, stated = place
    bottom = distinct((*shape[:axis], shape[axis] * count, *shape[axis + 1 :]))
    tops = " ".join(f'top: "t{index}"' for index in range(count))
    parts = check_layer(f'type: "Slice" {tops} slice_param {{ axis: {stated} }}', bottom, per_item=axis > 0)
    assert torch.equal(torch.cat(parts, axis), bottom)


@examples
@given(place=places(first=1), data=st.data())
def test_flatten_is_a_reshape(place: Place, data: st.DataObject) -> None:
    shape, axis, stated = place
    end = data.draw(st.integers(axis, len(shape) - 1))
    bottom = distinct(shape)
    [flat] = check_layer(f'type: "Flatten" flatten_param {{ axis: {stated} end_axis: {end} }}', bottom)
    fields = f"axis: {axis} num_axes: {end - axis + 1} shape {{ dim: -1 }}"
    [same] = check_layer(f'type: "Reshape" reshape_param {{ {fields} }}', bottom)
    assert torch.equal(flat, same) and torch.equal(flat.reshape(-1), bottom.reshape(-1))


@examples
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple), data=st.data())
def test_reshape(shape: tuple[int, ...], data: st.DataObject) -> None:
    """Any split of the axes into kept ones (0), stated ones and one that is inferred (-1)."""
    kept = data.draw(st.integers(0, len(shape)))
    count = torch.Size(shape[kept:]).numel()
    first = data.draw(st.sampled_from([size for size in range(1, count + 1) if count % size == 0]))
    dims = [0] * kept + [first, -1]
    text = f'type: "Reshape" reshape_param {{ shape {{ {" ".join(f"dim: {dim}" for dim in dims)} }} }}'
    bottom = distinct(shape)
    [top] = check_layer(text, bottom, per_item=kept > 0)
    assert top.shape == (*shape[:kept], first, count // first)
    assert torch.equal(top.reshape(-1), bottom.reshape(-1))


@examples
@given(place=places(), tiles=st.integers(1, 3))
def test_tile(place: Place, tiles: int) -> None:
    shape, axis, stated = place
    bottom = distinct(shape)
    [top] = check_layer(f'type: "Tile" tile_param {{ axis: {stated} tiles: {tiles} }}', bottom, per_item=axis > 0)
    assert torch.equal(top, torch.cat([bottom] * tiles, axis))


@examples
@given(place=places(), data=st.data())
def test_crop(place: Place, data: st.DataObject) -> None:
    shape, axis, stated = place
    offsets = [data.draw(st.integers(0, size - 1)) for size in shape[axis:]]
    sizes = [data.draw(st.integers(1, size - offset)) for size, offset in zip(shape[axis:], offsets, strict=True)]
    fields = " ".join([f"axis: {stated}", *(f"offset: {offset}" for offset in offsets)])
    bottom = distinct(shape)
    [top] = check_layer(
        f'type: "Crop" crop_param {{ {fields} }}', bottom, distinct((*shape[:axis], *sizes)), per_item=axis > 0
    )
    window = (slice(None),) * axis + tuple(slice(o, o + s) for o, s in zip(offsets, sizes, strict=True))
    assert torch.equal(top, bottom[window])


@examples
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple), count=st.integers(1, 6), data=st.data())
def test_batch_reindex(shape: tuple[int, ...], count: int, data: st.DataObject) -> None:
    order = torch.tensor([data.draw(st.integers(0, shape[0] - 1)) for _ in range(count)])
    bottom = distinct(shape)
    [top] = check_layer('type: "BatchReindex"', bottom, order.double(), per_item=False)
    assert torch.equal(top, bottom[order])


@examples
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple), count=st.integers(1, 3), data=st.data())
def test_split_and_silence(shape: tuple[int, ...], count: int, data: st.DataObject) -> None:
    bottom = distinct(shape)
    tops = " ".join(f'top: "t{index}"' for index in range(count))
    copies = check_layer(f'type: "Split" {tops}', bottom)
    assert all(torch.equal(copy, bottom) for copy in copies)
    assert check_layer('type: "Silence"', *copies) == []


@examples
@given(
    rest=st.lists(st.integers(1, 3), max_size=2),
    kept=st.lists(st.booleans(), min_size=1, max_size=5),
    count=st.integers(1, 3),
)
def test_filter(rest: list[int], kept: list[bool], count: int) -> None:
    """Its tops are as long as values say, so shapes without values are those of all items."""
    bottoms = [distinct((len(kept), *rest, index + 1)) for index in range(count)]
    selector = torch.tensor(kept).double()
    tops = " ".join(f'top: "t{index}"' for index in range(count))
    layer = make_layer(f'type: "Filter" {tops}', *[bottom.shape for bottom in bottoms], selector.shape)
    made = tops_of(layer, [*bottoms, selector])
    assert all(torch.equal(top, bottom[torch.tensor(kept)]) for top, bottom in zip(made, bottoms, strict=True))
    check_gradient(layer, [*bottoms, selector])
    on_meta = tops_of(layer, [blob.to("meta") for blob in (*bottoms, selector)])
    assert [top.shape for top in on_meta] == [bottom.shape for bottom in bottoms]
