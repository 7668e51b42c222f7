"""Pooling and SPP with random windows and shapes."""

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from caffecompat.layers.functional.pooling import Window
from caffecompat.schema import pb
from tests.layers.properties import check_layer, distinct, examples

METHODS = st.sampled_from(["MAX", "AVE", "STOCHASTIC"])


@examples
@given(
    method=METHODS,
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    pad=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    floor=st.booleans(),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 8), st.integers(1, 8)),
)
def test_pooling(
    method: str,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    floor: bool,
    shape: tuple[int, int, int, int],
) -> None:
    pad = (0, 0) if method == "STOCHASTIC" else (min(pad[0], kernel[0] - 1), min(pad[1], kernel[1] - 1))
    window = Window(kernel, stride, pad, not floor)
    assume(min(window.counts(shape[2:])) >= 1)
    # A window that sees no value at all has the mean 0 / 0 or the maximum -FLT_MAX; the recorded cases hold those.
    assume(all((n - 1) * s < size for n, s, size in zip(window.counts(shape[2:]), stride, shape[2:], strict=True)))
    fields = "".join(
        f"{name}_h: {pair[0]} {name}_w: {pair[1]} "
        for name, pair in (("kernel", kernel), ("stride", stride), ("pad", pad))
    )
    text = f'type: "Pooling" pooling_param {{ pool: {method} {fields} round_mode: {"FLOOR" if floor else "CEIL"} }}'
    stochastic = method == "STOCHASTIC"
    bottom = distinct(shape, least=0.1 if stochastic else None)
    check_layer(text, bottom, phase=pb.TEST, both_phases=not stochastic)


@examples
@given(
    method=METHODS,
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 8), st.integers(1, 8)),
)
def test_global_pooling(method: str, shape: tuple[int, int, int, int]) -> None:
    text = f'type: "Pooling" pooling_param {{ pool: {method} global_pooling: true }}'
    stochastic = method == "STOCHASTIC"
    [top] = check_layer(
        text, distinct(shape, least=0.1 if stochastic else None), phase=pb.TEST, both_phases=not stochastic
    )
    assert top.shape == (*shape[:2], 1, 1)


@examples
@given(shape=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(2, 6), st.integers(2, 6)))
def test_the_mask_says_where_the_maximum_lay(shape: tuple[int, int, int, int]) -> None:
    text = 'type: "Pooling" top: "max" top: "mask" pooling_param { kernel_size: 2 stride: 1 }'
    bottom = distinct(shape)
    top, mask = check_layer(text, bottom)
    assert torch.equal(bottom.flatten(2).gather(2, mask.flatten(2).long()), top.flatten(2))


@examples
@given(
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(3, 7), st.integers(3, 7)),
)
def test_stochastic_pooling_picks_values_of_its_windows(kernel: int, stride: int, shape: tuple[int, ...]) -> None:
    text = f'type: "Pooling" pooling_param {{ pool: STOCHASTIC kernel_size: {kernel} stride: {stride} }}'
    bottom = distinct(shape, least=0.1)
    assume(all((size - kernel + stride - 1) // stride * stride < size for size in shape[2:]))
    # The draw depends on the layout of batch and memory, so only the gradient for a fixed draw is checked here.
    [picked] = check_layer(text, bottom, per_item=False, both_phases=False)
    [greatest] = check_layer(text.replace("STOCHASTIC", "MAX"), bottom)
    assert torch.isin(picked, bottom).all() and (picked <= greatest).all()


@examples
@given(
    method=st.sampled_from(["MAX", "AVE"]),
    height=st.integers(1, 3),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(8, 11), st.integers(8, 11)),
)
def test_spp(method: str, height: int, shape: tuple[int, int, int, int]) -> None:
    [top] = check_layer(f'type: "SPP" spp_param {{ pyramid_height: {height} pool: {method} }}', distinct(shape))
    bins = sum(4**level for level in range(height))
    assert top.numel() == shape[0] * shape[1] * bins
