"""InnerProduct and Embed with random parameters and shapes."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.layers.properties import check_layer, distinct, examples, labels
from tests.layers.test_properties_elementwise import places

FILLERS = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'


@examples
@given(place=places(first=1), outputs=st.integers(1, 4), bias=st.booleans(), transpose=st.booleans())
def test_inner_product(place: tuple[tuple[int, ...], int, int], outputs: int, bias: bool, transpose: bool) -> None:
    shape, axis, stated = place
    fields = f"num_output: {outputs} axis: {stated} bias_term: {str(bias).lower()} transpose: {str(transpose).lower()}"
    [top] = check_layer(f'type: "InnerProduct" inner_product_param {{ {fields} {FILLERS} }}', distinct(shape))
    assert top.shape == (*shape[:axis], outputs)


@examples
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    inputs=st.integers(1, 6),
    outputs=st.integers(1, 4),
    bias=st.booleans(),
)
def test_embed(shape: tuple[int, ...], inputs: int, outputs: int, bias: bool) -> None:
    fields = f"input_dim: {inputs} num_output: {outputs} bias_term: {str(bias).lower()} {FILLERS}"
    torch.manual_seed(inputs)
    [top] = check_layer(f'type: "Embed" embed_param {{ {fields} }}', labels(inputs, shape))
    assert top.shape == (*shape, outputs)
