"""Recurrent networks over streams that start over where an indicator is 0 (BVLC recurrent_layer.cpp).

No gradient flows through the states that go in and come out, nor to the indicators.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["continuation_indicators", "lstm", "lstm_unit", "rnn"]


def lstm_unit(c: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM (BVLC lstm_unit_layer.cpp).

    Args:
        c: cells before the step, (..., H).
        gates: input, forget, output gate and candidate before their non-linearities, (..., 4 H) in that order.
        cont: (..., 1); 0 forgets `c`.

    Returns:
        Cells c' = cont f c + i g and outputs h = o tanh(c') after the step.
    """
    size = c.shape[-1]
    opened, candidate = gates.split((3 * size, size), -1)
    i, f, o = torch.sigmoid(opened).chunk(3, -1)
    c = torch.addcmul(f * cont * c, i, torch.tanh(candidate))
    return c, o * torch.tanh(c)


def lstm(
    x: Tensor,
    cont: Tensor,
    state: Sequence[Tensor] = (),
    static: Tensor | None = None,
    *,
    input_weight: Tensor,
    bias: Tensor,
    hidden_weight: Tensor,
    static_weight: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Long short-term memory: `lstm_unit` at each step, whose gates are W_x x + b + W_h cont h [+ W_static static].

    Args:
        x: (T, N, ...), T steps of N independent streams.
        cont: (T, N), 0 where a stream starts over and 1 where it goes on.
        state: h and c before the first step, (1, N, H) each. Zeros where there are none, or of another N.
        static: (N, ...), an input that is the same at all steps.
        input_weight, bias, hidden_weight, static_weight: (4 H, inputs), (4 H), (4 H, H), (4 H, static inputs).

    Returns:
        h of all steps (T, N, H); h and c after the last step, (1, N, H) each.
    """
    inputs, cont = _input_part(x, static, input_weight, bias, static_weight), cont.detach().unsqueeze(2)
    h, c = _first_state(state, 2, inputs, hidden_weight)
    weight = hidden_weight.t()
    tops = []
    for given, goes_on in zip(inputs.unbind(), cont.unbind(), strict=True):
        c, h = lstm_unit(c, torch.addmm(given, h * goes_on, weight), goes_on)
        tops.append(h)
    return torch.stack(tops), h.detach()[None], c.detach()[None]


def rnn(
    x: Tensor,
    cont: Tensor,
    state: Sequence[Tensor] = (),
    static: Tensor | None = None,
    *,
    input_weight: Tensor,
    bias: Tensor,
    hidden_weight: Tensor,
    output_weight: Tensor,
    output_bias: Tensor,
    static_weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """h = tanh(W_x x + b + W_h cont h [+ W_static static]) at each step, output tanh(W_o h + b_o).

    Args:
        x, cont, static: as of `lstm`.
        state: h before the first step, (1, N, H). Zeros where there is none, or of another N.
        input_weight, bias, hidden_weight, static_weight: (H, inputs), (H), (H, H), (H, static inputs).
        output_weight, output_bias: (H, H), (H).

    Returns:
        The output of all steps (T, N, H), and h after the last step (1, N, H).
    """
    inputs, cont = _input_part(x, static, input_weight, bias, static_weight), cont.detach().unsqueeze(2)
    (h,) = _first_state(state, 1, inputs, hidden_weight)
    weight = hidden_weight.t()
    hidden = []
    for given, goes_on in zip(inputs.unbind(), cont.unbind(), strict=True):
        h = torch.tanh(torch.addmm(given, h * goes_on, weight))
        hidden.append(h)
    return torch.tanh(F.linear(torch.stack(hidden), output_weight, output_bias)), h.detach()[None]


def _input_part(
    x: Tensor, static: Tensor | None, input_weight: Tensor, bias: Tensor, static_weight: Tensor | None
) -> Tensor:
    """What x and the static input give to each step, (T, N, rows of the weights), as one matrix product."""
    inputs = F.linear(x.flatten(2), input_weight, bias)
    return inputs if static is None or static_weight is None else inputs + F.linear(static.flatten(1), static_weight)


def _first_state(state: Sequence[Tensor], parts: int, inputs: Tensor, hidden_weight: Tensor) -> list[Tensor]:
    """The parts of the state before the first step, (N, H) each."""
    streams, size = inputs.shape[1], hidden_weight.shape[1]
    if len(state) and state[0].shape[1] == streams:
        return [part.detach()[0] for part in state]
    return [inputs.new_zeros(streams, size) for _ in range(parts)]


def continuation_indicators(
    steps: int, streams: int, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """(steps, streams): 0 at the first step, where all streams start over, and 1 at all others."""
    indicators = torch.ones(steps, streams, device=device, dtype=dtype)
    indicators[:1] = 0
    return indicators
