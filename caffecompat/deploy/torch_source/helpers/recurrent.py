"""Recurrent layers in exported files."""

import torch
from torch import Tensor, nn

from caffecompat.layers.functional.recurrent import lstm_unit

__all__ = ["LSTM", "RNN", "ContinuationIndicator", "Recurrent"]


class Recurrent(nn.Module):
    """What RNN and LSTM share.

    Takes x (steps, streams, ...), cont (steps, streams) with 0 where a stream starts over and 1 where it goes on, an
    input (streams, ...) that is the same at all steps if there is one, and with exposed the state before the first
    step, (1, streams, size) each. Gives (steps, streams, size), and with exposed the state after the last step.
    Without, the state is kept from call to call, as far as cont lets it through; zeros at first.
    """

    def __init__(self, inputs: int, size: int, gates: int, states: int, static: int, exposed: bool) -> None:
        super().__init__()
        self.size, self.states, self.exposed = size, states, exposed
        self.input = nn.Linear(inputs, gates * size)
        self.static = nn.Linear(static, gates * size, bias=False) if static else None
        self.hidden = nn.Linear(size, gates * size, bias=False)
        self.last: list[Tensor] = []

    def forward(self, x: Tensor, cont: Tensor, *others: Tensor) -> Tensor | tuple[Tensor, ...]:
        given = self.input(x.flatten(2))
        if self.static is not None:
            given = given + self.static(others[0].flatten(1))
        if self.exposed:
            state = [other[0] for other in others[-self.states :]]
        elif self.last and self.last[0].shape[0] == x.shape[1]:
            state = self.last
        else:
            state = [given.new_zeros(x.shape[1], self.size) for _ in range(self.states)]
        tops = []
        for step, goes_on in zip(given, cont[..., None], strict=True):
            state = self.step(step + self.hidden(state[0] * goes_on), goes_on, state)
            tops.append(state[0])
        top = self.output_of(torch.stack(tops))
        if self.exposed:
            return (top, *(part[None] for part in state))
        self.last = [part.detach() for part in state]
        return top

    def step(self, gates: Tensor, goes_on: Tensor, state: list[Tensor]) -> list[Tensor]:
        """The state after a step; its first part is the output."""
        raise NotImplementedError

    def output_of(self, hidden: Tensor) -> Tensor:
        return hidden


class RNN(Recurrent):
    """h' = tanh(input + W h), output tanh(W_o h' + b_o)."""

    def __init__(self, inputs: int, size: int, static: int = 0, exposed: bool = False) -> None:
        super().__init__(inputs, size, 1, 1, static, exposed)
        self.output = nn.Linear(size, size)

    def step(self, gates: Tensor, goes_on: Tensor, state: list[Tensor]) -> list[Tensor]:
        return [torch.tanh(gates)]

    def output_of(self, hidden: Tensor) -> Tensor:
        return torch.tanh(self.output(hidden))


class LSTM(Recurrent):
    """Long short-term memory; its state is the output, then the cells."""

    def __init__(self, inputs: int, size: int, static: int = 0, exposed: bool = False) -> None:
        super().__init__(inputs, size, 4, 2, static, exposed)

    def step(self, gates: Tensor, goes_on: Tensor, state: list[Tensor]) -> list[Tensor]:
        cells, output = lstm_unit(state[1], gates, goes_on)
        return [output, cells]


class ContinuationIndicator(nn.Module):
    """Gives (steps, streams): 0 at the first step, where all streams start over, and 1 at all others.

    Without a number of streams takes a batch (streams, ...), which gives it.
    """

    indicators: Tensor

    def __init__(self, steps: int, streams: int | None = None) -> None:
        super().__init__()
        self.streams = streams
        self.register_buffer("indicators", (torch.arange(steps) > 0).float()[:, None], persistent=False)

    def forward(self, *batch: Tensor) -> Tensor:
        return self.indicators.expand(-1, self.streams or batch[0].shape[0])
