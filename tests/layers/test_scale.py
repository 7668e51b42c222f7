"""Scale and Bias over every choice of axes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.layers import LayerError
from tests.layers.make import make_layer

SHAPE = (2, 3, 4, 5)
GAUSSIAN = '{ type: "gaussian" std: 1 }'


@settings(max_examples=30, deadline=None)
@given(st.integers(-4, 3), st.integers(-1, 4), st.booleans(), st.booleans())
def test_axes(axis, num_axes, as_bottom, bias_term):
    start = axis % 4
    end = 4 if num_axes == -1 else start + num_axes
    fields = f"axis: {axis} num_axes: {num_axes}"
    if end > 4:
        with pytest.raises(LayerError, match="reaches past"):
            make_layer(f'type: "Scale" scale_param {{ {fields} }}', SHAPE)
        return
    shape = SHAPE[start:end]
    x, factor = torch.randn(SHAPE), torch.randn(shape)
    bias = f"bias_term: true bias_filler {GAUSSIAN}" if bias_term else ""
    text = f"{{ {fields} filler {GAUSSIAN} {bias} }}"
    shapes, bottoms = ([SHAPE, shape], [x, factor]) if as_bottom else ([SHAPE], [x])
    scale = make_layer('type: "Scale" scale_param ' + text, *shapes)
    assert scale.blob_names == ["scale"] * (not as_bottom) + ["bias"] * bias_term
    assert all(blob.shape == shape for blob in scale.blobs)
    if not as_bottom:
        factor = scale.scale
    spread = (Ellipsis, *[None] * (4 - end))
    want = x * factor[spread] + (scale.bias[spread] if bias_term else 0)
    assert torch.allclose(scale(*bottoms), want, atol=1e-6)
    add = make_layer(f'type: "Bias" bias_param {{ {fields} filler {GAUSSIAN} }}', *shapes)
    assert torch.allclose(add(*bottoms), x + (bottoms[1] if as_bottom else add.bias)[spread], atol=1e-6)


def test_default_fillers():
    x = torch.randn(SHAPE)
    assert torch.equal(make_layer('type: "Scale" scale_param { bias_term: true }', SHAPE)(x), x)
    assert torch.equal(make_layer('type: "Bias"', SHAPE)(x), x)


def test_second_bottom_must_cover_the_axes():
    with pytest.raises(LayerError, match=r"\(4,\) does not cover axis 1"):
        make_layer('type: "Scale"', SHAPE, (4,))
