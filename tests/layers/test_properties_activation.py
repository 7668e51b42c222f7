"""Layers that treat every value by itself, with random parameters and shapes, apart and in place."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from caffecompat.schema import pb
from tests.layers.make import make_layer
from tests.layers.properties import check_gradient, check_layer, distinct, examples, tops_of

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple)
SMALL = st.floats(0.25, 2)

# type, its fields with random numbers a and b, whether it needs positive values
KINDS = [
    ("AbsVal", "", False),
    ("BNLL", "", False),
    ("Clip", "clip_param {{ min: -{a} max: {b} }}", False),
    ("ELU", "elu_param {{ alpha: {a} }}", False),
    ("Exp", "exp_param {{ scale: {a} shift: {b} }}", False),
    ("Exp", "exp_param {{ base: {a} scale: -1 }}", False),
    ("GELU", "", False),
    ("HSwish", "", False),
    ("HardSigmoid", "", False),
    ("HardSwish", "", False),
    ("Log", "log_param {{ scale: {a} shift: {b} }}", True),
    ("Log", "log_param {{ base: 3 shift: {b} }}", True),
    ("Mish", "", False),
    ("SiLU", "", False),
    ("Power", "power_param {{ power: {a} shift: {b} }}", True),
    ("Power", "power_param {{ power: 2 scale: -{a} }}", False),
    ("ReLU", "", False),
    ("ReLU", "relu_param {{ negative_slope: {a} }}", False),
    ("Sigmoid", "", False),
    ("Swish", "", False),
    ("Swish", "swish_param {{ beta: {a} }}", False),
    ("TanH", "", False),
    ("Threshold", "threshold_param {{ threshold: {a} }}", False),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind[0]} {kind[1].split(' ')[0]}")
@examples
@given(a=SMALL, b=SMALL, shape=SHAPES)
def test_neuron(kind: tuple[str, str, bool], a: float, b: float, shape: tuple[int, ...]) -> None:
    name, fields, positive = kind
    bottom = distinct(shape, least=0.1 if positive else None)
    text = f'type: "{name}" {fields.format(a=a, b=b)}'
    [top] = check_layer(text, bottom)
    assert top.shape == shape
    if name not in ("AbsVal", "Threshold"):
        in_place = make_layer(f'{text} bottom: "x" top: "x"', shape).double()
        assert torch.equal(tops_of(in_place, [bottom])[0], top)
        check_gradient(in_place, [bottom])


@examples
@given(shared=st.booleans(), slope=st.floats(0, 1), rest=SHAPES)
def test_prelu(shared: bool, slope: float, rest: tuple[int, ...]) -> None:
    fields = f'channel_shared: {str(shared).lower()} filler {{ type: "constant" value: {slope} }}'
    check_layer(f'type: "PReLU" prelu_param {{ {fields} }}', distinct((2, *rest)))


@examples
@given(ratio=st.floats(0, 0.9), shape=SHAPES)
def test_dropout(ratio: float, shape: tuple[int, ...]) -> None:
    text = f'type: "Dropout" dropout_param {{ dropout_ratio: {ratio} }}'
    bottom = distinct(shape)
    train, test = make_layer(text, shape).double(), make_layer(text, shape, phase=pb.TEST).double()
    [top] = tops_of(train, [bottom])
    kept = top != 0
    # The ratio is a float32 in the prototxt.
    torch.testing.assert_close(top[kept], bottom[kept] / (1 - ratio), rtol=1e-5, atol=0)
    check_gradient(train, [bottom])
    assert torch.equal(test(bottom), bottom)


def test_a_million_values_are_dropped_at_the_ratio() -> None:
    layer = make_layer('type: "Dropout" dropout_param { dropout_ratio: 0.3 }', (1000, 1000))
    dropped = (layer(torch.ones(1000, 1000)) == 0).double().mean()
    assert abs(dropped - 0.3) < 0.003
