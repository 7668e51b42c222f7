"""Greedy non-maximum suppression of many lists of boxes at once, without a loop over boxes.

Greedy suppression says: a box stays if no box that stays before it in its list overlaps it too much. Read as an
equation for the set of boxes that stay, it has one solution, and inserting any guess repeatedly gets at least one
more box of each list right each time. In practice a handful of rounds settles everything, because chains in which
each box suppresses the next are short.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.functional.detection_boxes import jaccard

__all__ = ["non_maximum_suppression", "rank_in_list"]

_BLOCK = 512  # boxes of a list compared at once
_PAIRS = 1_000_000  # pairs compared at once, over all lists: bounds memory


def non_maximum_suppression(
    boxes: Tensor, lists: Tensor, threshold: float, eta: float = 1.0, most: int | None = None
) -> Tensor:
    """Which boxes stay (SSD ``ApplyNMSFast``).

    Args:
        boxes: (E, 4), each list's boxes together and in order of falling score.
        lists: (E) which list each is of, not falling.
        threshold: overlap up to which a box stays.
        eta: below 1, the threshold is multiplied by it after every box that stays, while it is above 0.5.
        most: how many boxes of a list are wanted; whether further ones stay need not be found out.

    Returns:
        (E) bool; of a list at least its first `most` that stay.
    """
    keep = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    if not len(boxes):
        return keep
    counts = torch.unique_consecutive(lists, return_counts=True)[1]
    starts = counts.cumsum(0) - counts
    lengths, order = counts.sort()
    sizes = lengths.tolist()
    first = 0
    while first < len(sizes):
        # Lists of like length go together, so that little of the padding is compared in vain.
        last = first + 1
        while last < len(sizes) and (last + 1 - first) * min(sizes[last], _BLOCK) ** 2 <= _PAIRS:
            last += 1
        chosen = order[first:last]
        places = torch.arange(sizes[last - 1], device=boxes.device)
        there = places < counts[chosen, None]
        entries = (starts[chosen, None] + places).clamp_(max=len(boxes) - 1)
        stay = _suppress(boxes[entries], there, threshold, eta, most)
        keep[entries[there]] = stay[there]
        first = last
    return keep


def rank_in_list(lists: Tensor) -> Tensor:
    """The place of each entry in its list, where the entries of a list are together: (E) of (E).

    >>> rank_in_list(torch.tensor([4, 4, 7, 7, 7]))
    tensor([0, 1, 0, 1, 2])
    """
    place = torch.arange(len(lists), device=lists.device)
    begins = F.pad(lists[1:] != lists[:-1], (1, 0), value=True)
    return place - place.where(begins, 0).cummax(0)[0]


def _suppress(boxes: Tensor, there: Tensor, threshold: float, eta: float, most: int | None) -> Tensor:
    """For padded lists (L, K, 4) of which `there` (L, K) exist: which stay (L, K)."""
    blocks: list[Tensor] = []
    for begin in range(0, boxes.shape[1], _BLOCK):
        block = slice(begin, begin + _BLOCK)
        worst = boxes.new_zeros(boxes.shape[0], boxes[:, block].shape[1])
        for earlier, stayed in enumerate(blocks):
            before = boxes[:, earlier * _BLOCK : (earlier + 1) * _BLOCK]
            overlap = jaccard(before[:, :, None], boxes[:, None, block])
            worst = torch.maximum(worst, overlap.mul_(stayed[:, :, None]).amax(1))
        count = sum(
            (stayed.sum(1, keepdim=True) for stayed in blocks), torch.zeros_like(there[:, :1], dtype=torch.int64)
        )
        blocks.append(_settle(boxes[:, block], there[:, block], worst, count, threshold, eta))
        if most is not None and bool((count + blocks[-1].sum(1, keepdim=True) >= most).all()):
            break
    stay = torch.cat(blocks, 1)
    return F.pad(stay, (0, boxes.shape[1] - stay.shape[1]))


def _settle(boxes: Tensor, there: Tensor, worst: Tensor, count: Tensor, threshold: float, eta: float) -> Tensor:
    """Which boxes of a block stay.

    Args:
        boxes, there: (L, S, 4) and (L, S).
        worst: (L, S), the greatest overlap of each with boxes of earlier blocks that stay.
        count: (L, 1), how many those are.
    """
    overlap = jaccard(boxes[:, :, None], boxes[:, None]).triu_(1)
    if eta == 1 or threshold <= 0.5:
        free = there & (worst <= threshold)
        hits = overlap > threshold
        keep = free
        while True:
            settled = free & ~(hits & keep[:, :, None]).any(1)
            if torch.equal(settled, keep):
                return keep
            keep = settled
    falls = math.ceil(math.log(0.5 / threshold) / math.log(eta))
    keep = there
    while True:
        stayed = count + F.pad(keep.cumsum(1)[:, :-1], (1, 0))
        limit = threshold * eta ** stayed.clamp(max=falls).to(boxes.dtype)
        hits = overlap > limit[:, None]
        settled = there & (worst <= limit) & ~(hits & keep[:, :, None]).any(1)
        if torch.equal(settled, keep):
            return keep
        keep = settled
