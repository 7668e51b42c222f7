"""RNN, LSTM and LSTMUnit with random sizes, stream beginnings, static inputs and exposed states."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.layers.properties import check_layer, distinct, examples

KINDS = st.sampled_from([("RNN", 1), ("LSTM", 2)])
SIZES = st.integers(1, 4)


@examples
@given(kind=KINDS, steps=SIZES, streams=SIZES, rest=st.lists(SIZES, min_size=1, max_size=2), outputs=SIZES,
       static=st.booleans(), exposed=st.booleans(), seed=st.integers(0, 99))  # fmt: skip
def test_recurrent(
    kind: tuple[str, int],
    steps: int,
    streams: int,
    rest: list[int],
    outputs: int,
    static: bool,
    exposed: bool,
    seed: int,
) -> None:
    name, states = kind
    torch.manual_seed(seed)
    cont = torch.randint(0, 2, (steps, streams)).double()
    if not exposed:
        cont[0] = 0  # else each call would go on where the last one ended
    bottoms = [distinct((steps, streams, *rest)), cont]
    bottoms += [distinct((streams, 3))] if static else []
    bottoms += [distinct((1, streams, outputs)) for _ in range(states if exposed else 0)]
    tops = " ".join(f'top: "t{index}"' for index in range(1 + (states if exposed else 0)))
    fields = (
        f'num_output: {outputs} expose_hidden: {str(exposed).lower()} weight_filler {{ type: "gaussian" std: 0.5 }}'
    )
    made = check_layer(f'type: "{name}" {tops} recurrent_param {{ {fields} }}', *bottoms, per_item=False)
    assert made[0].shape == (steps, streams, outputs) and made[0].abs().max() <= 1
    assert all(state.shape == (1, streams, outputs) for state in made[1:])


@examples
@given(kind=KINDS, steps=SIZES, streams=st.integers(2, 4), outputs=SIZES)
def test_streams_are_independent(kind: tuple[str, int], steps: int, streams: int, outputs: int) -> None:
    text = f'type: "{kind[0]}" recurrent_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} }}'
    x, cont = distinct((steps, streams, 3)), torch.ones(steps, streams, dtype=torch.float64)
    cont[0] = 0
    [together] = check_layer(text, x, cont, per_item=False, gradient=False)
    order = torch.arange(streams - 1, -1, -1)
    [turned] = check_layer(text, x[:, order], cont, per_item=False, gradient=False)
    torch.testing.assert_close(turned, together[:, order])


@examples
@given(streams=SIZES, cells=SIZES, seed=st.integers(0, 99))
def test_lstm_unit(streams: int, cells: int, seed: int) -> None:
    torch.manual_seed(seed)
    cont = torch.randint(0, 2, (1, streams)).double()
    text = 'type: "LSTMUnit" top: "c" top: "h"'
    check_layer(text, distinct((1, streams, cells)), distinct((1, streams, 4 * cells)), cont, per_item=False)
