from __future__ import annotations

import numpy as np
import pytest

from caffecompat.data import DataError, make_source
from tests.data.batches import layer, refuses, source


def test_constants_are_made_once_and_others_anew() -> None:
    text = """type: "DummyData" top: "a" top: "b" top: "c" dummy_data_param {
        shape { dim: 2 dim: 3 } shape { dim: 4 } shape { dim: 2 dim: 1 dim: 5 dim: 6 }
        data_filler { type: "constant" value: 7 } data_filler { type: "gaussian" }
        data_filler { type: "uniform" min: 2 max: 3 } }"""
    with source(text) as made:
        assert made.top_shapes == [(2, 3), (4,), (2, 1, 5, 6)]
        first, second = made.next(), made.next()
        assert [top.shape for top in first] == made.top_shapes and first[0].dtype == np.float32
        assert (first[0] == 7).all() and np.shares_memory(first[0], second[0])
        assert not np.array_equal(first[1], second[1]) and not np.array_equal(first[2], second[2])
        assert first[2].min() >= 2 and first[2].max() <= 3


def test_one_shape_no_filler_and_the_old_sizes() -> None:
    with source('type: "DummyData" top: "a" top: "b" dummy_data_param { shape { dim: 3 } }') as made:
        assert [top.tolist() for top in made.next()] == [[0, 0, 0]] * 2
    text = 'type: "DummyData" top: "a" top: "b" dummy_data_param { num: 2 num: 4 channels: 3 height: 5 width: 6 }'
    with source(text) as made:
        assert made.top_shapes == [(2, 3, 5, 6), (4, 3, 5, 6)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("shape { dim: 2 } shape { dim: 2 }", "needs shape once or 3 times, it has 2"),
        ("shape { dim: 2 } num: 2", "both shape and num"),
        ("num: 2 channels: 3 height: 2", "num, channels, height and width once or 1 times, it has 0"),
        ('shape { dim: 2 } data_filler { type: "gausian" }', "gausian"),
        ("", "needs shape once or 3 times, it has 0"),
    ],
)
def test_dummy_mistakes(fields: str, message: str) -> None:
    refuses(f'type: "DummyData" top: "a" top: "b" top: "c" dummy_data_param {{ {fields} }}', message)


def test_input_tells_its_shapes() -> None:
    with source('type: "Input" top: "a" top: "b" input_param { shape { dim: 1 dim: 3 } shape { dim: 4 } }') as made:
        assert made.fed and made.top_shapes == [(1, 3), (4,)]
        with pytest.raises(DataError, match="the caller of the net gives"):
            made.next()
    refuses('type: "Input" top: "a" top: "b"', "a shape once or 2 times, it has 0")


def test_which_layers_bring_data() -> None:
    with pytest.raises(DataError, match=r"'Convolution' is not a data layer; known: .*Data, Dense"):
        make_source(layer('type: "Convolution"'), 0)


def test_more_memory_than_there_is_is_an_error_of_ours() -> None:
    shape = "shape { dim: 1000000000 dim: 1000000 }"
    refuses(
        f'name: "d" type: "DummyData" top: "x" dummy_data_param {{ {shape} }}',
        r"1000000000 x 1000000 needs [\d,.]+ GiB",
    )
