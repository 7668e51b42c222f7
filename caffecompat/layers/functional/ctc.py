"""Connectionist temporal classification: the cost of a label sequence that is not aligned with the steps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ctc_costs", "merge_path", "pack"]


def pack(values: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Move the kept values of each row to its front, in their order.

    Args:
        values, kept: (rows, columns), the latter bool.

    Returns:
        The rows, the values that are not kept after the others; and how many are kept in each, int64.

    >>> pack(torch.tensor([[9, 4, 9, 2]]), torch.tensor([[False, True, False, True]]))
    (tensor([[4, 2, 9, 9]]), tensor([2]))
    """
    order = kept.logical_not().to(torch.uint8).argsort(dim=1, stable=True)
    return values.gather(1, order), kept.sum(1)


def ctc_costs(scores: Tensor, labels: Tensor, blank: int) -> Tensor:
    """-log of the probability, summed over all paths, that the steps read as the label sequence.

    A path has a class at each step; it reads as the sequence that is left when repeats are merged and then blanks
    removed. A sequence that no path is long enough for costs 0 and has no gradient.

    Args:
        scores: (steps, items, classes), before the softmax over the classes.
        labels: (items, places) int64, 0 to classes - 1; a blank at any place is no part of the sequence.

    Returns:
        A cost for each item (items), in at least float32.
    """
    sequences, lengths = pack(labels, labels != blank)
    places = torch.arange(1, sequences.shape[1], device=labels.device)
    repeats = ((sequences[:, 1:] == sequences[:, :-1]) & (places < lengths[:, None])).sum(1)
    fits = lengths + repeats <= scores.shape[0]
    log_probability = F.log_softmax(scores, 2, dtype=torch.promote_types(scores.dtype, torch.float32))
    steps = torch.full_like(lengths, scores.shape[0])
    costs = F.ctc_loss(log_probability, sequences, steps, lengths * fits, blank, reduction="none")
    return costs.where(fits, torch.zeros_like(costs))


def merge_path(path: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """The sequences that paths read as: a class that repeats the step before and blanks are left out.

    Args:
        path: (items, steps), a class at each step.

    Returns:
        The sequences at the front of rows of as many places, and their lengths, as `pack` gives them.
    """
    before = torch.cat([torch.full_like(path[:, :1], blank), path[:, :-1]], 1)
    return pack(path, (path != blank) & (path != before))
