"""BatchNorm, LRN, MVN, Scale and Bias with random parameters and shapes."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from caffecompat.schema import pb
from tests.layers.make import make_layer
from tests.layers.properties import check_gradient, check_layer, distinct, examples, tops_of

BATCHES = st.lists(st.integers(1, 3), min_size=0, max_size=3).map(lambda rest: (2, 3, *rest))


@examples
@given(shape=BATCHES, eps=st.sampled_from([1e-5, 1e-2]), stored=st.booleans(), phase=st.sampled_from([0, 1]))
def test_batch_norm(shape: tuple[int, ...], eps: float, stored: bool, phase: int) -> None:
    text = f'type: "BatchNorm" batch_norm_param {{ eps: {eps} use_global_stats: {str(stored).lower()} }}'
    layer = make_layer(text, shape, phase=phase)
    mean, variance, factor = layer.blobs
    mean.data.normal_()
    variance.data.uniform_(0.5, 2)
    factor.data.fill_(2.0)
    layer.double()
    bottom = distinct(shape)
    [top] = tops_of(layer, [bottom])
    by_channel = top.detach().transpose(0, 1).reshape(3, -1)
    if stored:
        center, spread = mean / factor, variance / factor
        if phase == pb.TEST:
            expected = (bottom.transpose(0, 1).reshape(3, -1) - center[:, None]) / (spread[:, None] + eps).sqrt()
            torch.testing.assert_close(by_channel, expected.detach())
    elif by_channel.shape[1] > 2:
        torch.testing.assert_close(by_channel.mean(1), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)
    check_gradient(layer, [bottom])


@examples
@given(
    region=st.sampled_from(["ACROSS_CHANNELS", "WITHIN_CHANNEL"]),
    size=st.sampled_from([1, 3, 5]),
    beta=st.floats(0.5, 1.5),
    alpha=st.floats(0.01, 2),
    k=st.sampled_from([1.0, 2.5]),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5)),
)
def test_lrn(region: str, size: int, beta: float, alpha: float, k: float, shape: tuple[int, ...]) -> None:
    fields = f"norm_region: {region} local_size: {size} alpha: {alpha} beta: {beta} k: {k}"
    check_layer(f'type: "LRN" lrn_param {{ {fields} }}', distinct(shape))


@examples
@given(
    across=st.booleans(),
    variance=st.booleans(),
    shape=st.tuples(st.integers(1, 3), st.integers(2, 3), st.integers(2, 4), st.integers(1, 4)),
)
def test_mvn(across: bool, variance: bool, shape: tuple[int, ...]) -> None:
    fields = f"across_channels: {str(across).lower()} normalize_variance: {str(variance).lower()}"
    [top] = check_layer(f'type: "MVN" mvn_param {{ {fields} }}', distinct(shape))
    means = top.flatten(1 if across else 2).mean(-1)
    torch.testing.assert_close(means, torch.zeros_like(means), atol=1e-9, rtol=0)


@st.composite
def scaled(draw: st.DrawFn) -> tuple[tuple[int, ...], int, int]:
    """A shape, an axis of it, and how many axes from there on have a factor of their own."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=2, max_size=4)))
    axis = draw(st.integers(1, len(shape) - 1))
    return shape, axis, draw(st.integers(-1, len(shape) - axis))


@examples
@given(place=scaled(), bias=st.booleans(), from_behind=st.booleans())
def test_scale(place: tuple[tuple[int, ...], int, int], bias: bool, from_behind: bool) -> None:
    shape, axis, count = place
    fields = f"axis: {axis - len(shape) if from_behind else axis} num_axes: {count} bias_term: {str(bias).lower()}"
    text = f'type: "Scale" scale_param {{ {fields} filler {{ type: "uniform" min: 1 max: 2 }} }}'
    check_layer(text, distinct(shape))


@examples
@given(place=scaled())
def test_bias(place: tuple[tuple[int, ...], int, int]) -> None:
    shape, axis, count = place
    check_layer(f'type: "Bias" bias_param {{ axis: {axis} num_axes: {count} }}', distinct(shape))


@examples
@given(place=scaled(), kind=st.sampled_from(["Scale", "Bias"]))
def test_the_factor_may_be_a_bottom(place: tuple[tuple[int, ...], int, int], kind: str) -> None:
    shape, axis, count = place
    behind = shape[axis:] if count == -1 else shape[axis : axis + count]
    name = kind.lower()
    text = f'type: "{kind}" {name}_param {{ axis: {axis} }}'
    check_layer(text, distinct(shape), distinct(behind), per_item=False)
