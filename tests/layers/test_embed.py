"""Embed: rows by index, and indices that name none."""

from __future__ import annotations

import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer

TEXT = 'name: "words" type: "Embed" bottom: "ids" embed_param { input_dim: 5 num_output: 2 bias_term: false }'


def embed(ids: list) -> torch.Tensor:
    bottom = torch.tensor(ids, dtype=torch.float32)
    layer = make_layer(TEXT, bottom.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(10.0).reshape(5, 2))
    return layer(bottom)


def test_rows_take_the_place_of_indices() -> None:
    assert embed([[0, 4], [2.9, 1]]).tolist() == [[[0, 1], [8, 9]], [[4, 5], [2, 3]]]


@pytest.mark.parametrize(
    ("ids", "value", "place"),
    [
        ([0, 5], "5", "(1,)"),
        ([[1, 2], [-1, 9]], "-1", "(1, 0)"),
        ([7.5], "7.5", "(0,)"),
        ([float("nan")], "nan", "(0,)"),
    ],
)
def test_an_index_outside_the_table_is_named(ids: list, value: str, place: str) -> None:
    with pytest.raises(LayerError) as caught:
        embed(ids)
    text = str(caught.value)
    assert text.startswith(f"layer 'words' (Embed): the index {value} in 'ids'")
    assert f"at {place}," in text and "not a row of the table (0 to 4)" in text
