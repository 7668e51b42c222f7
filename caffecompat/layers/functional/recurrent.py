"""Steps of recurrent layers."""

import torch
from torch import Tensor

__all__ = ["lstm_unit"]


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
