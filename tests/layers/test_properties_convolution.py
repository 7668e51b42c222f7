"""Convolution, Deconvolution and Im2col with random kernels, groups and shapes."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from tests.layers.properties import Shape, check_layer, distinct, examples

FILLERS = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "uniform" }'


class Geometry(NamedTuple):
    """kernel_size, stride, pad and dilation as fields; all fields of a convolution; a bottom that they fit."""

    window: str
    fields: str
    shape: Shape
    outputs: int


@st.composite
def geometries(draw: DrawFn, axes: int, transposed: bool = False) -> Geometry:
    """A convolution over so many axes, with one value of a field for all axes or one each."""
    group = draw(st.integers(1, 3))
    channels, outputs = group * draw(st.integers(1, 2)), group * draw(st.integers(1, 2))
    one_for_all = draw(st.booleans())
    window, sizes = "", []
    kernel = stride = pad = dilation = 1
    for axis in range(axes):
        if axis == 0 or not one_for_all:
            kernel, stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
            pad = draw(st.integers(0, (kernel - 1) // 2 if transposed else 2))
            window += f"kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation} "
        least = 1 if transposed else max(1, dilation * (kernel - 1) + 1 - 2 * pad)
        sizes.append(draw(st.integers(least, least + 4)))
    bias = str(draw(st.booleans())).lower()
    fields = f"num_output: {outputs} group: {group} bias_term: {bias} {window} {FILLERS}"
    return Geometry(window, fields, (draw(st.integers(1, 3)), channels, *sizes), outputs)


@examples
@given(data=st.data(), axes=st.integers(1, 3))
def test_convolution(data: st.DataObject, axes: int) -> None:
    geometry = data.draw(geometries(axes))
    [top] = check_layer(f'type: "Convolution" convolution_param {{ {geometry.fields} }}', distinct(geometry.shape))
    assert top.shape[:2] == (geometry.shape[0], geometry.outputs)


@examples
@given(data=st.data(), axes=st.integers(1, 3))
def test_deconvolution(data: st.DataObject, axes: int) -> None:
    geometry = data.draw(geometries(axes, transposed=True))
    [top] = check_layer(f'type: "Deconvolution" convolution_param {{ {geometry.fields} }}', distinct(geometry.shape))
    assert top.shape[:2] == (geometry.shape[0], geometry.outputs)


@examples
@given(geometry=geometries(2))
def test_several_bottoms_share_the_weights(geometry: Geometry) -> None:
    text = f'type: "Convolution" top: "a" top: "b" convolution_param {{ {geometry.fields} }}'
    a, b = distinct(geometry.shape), distinct(geometry.shape)
    tops, swapped = check_layer(text, a, b), check_layer(text, b, a)
    assert (tops[0] == swapped[1]).all() and (tops[1] == swapped[0]).all()


@examples
@given(geometry=geometries(2))
def test_im2col(geometry: Geometry) -> None:
    check_layer(f'type: "Im2col" convolution_param {{ {geometry.window} }}', distinct(geometry.shape))
