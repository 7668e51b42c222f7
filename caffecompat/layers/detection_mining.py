"""Which negatives, or which examples altogether, SSD's loss learns from: SSD's ``MineHardExamples``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.detection_matching import UNMATCHED
from caffecompat.layers.functional.detection_boxes import areas
from caffecompat.layers.functional.detection_nms import non_maximum_suppression

__all__ = ["Suppression", "confidence_losses", "hard_examples", "hard_negatives"]

# SoftmaxWithLoss takes no logarithm of less than FLT_MIN.
_GREATEST_LOSS = 87.33654
_LEAST_AREA = 1e-5  # suppression drops smaller boxes


class Suppression:
    """multibox_loss_param.nms_param over boxes (N, P, 4); `boxes` None is no suppression."""

    def __init__(self, boxes: Tensor | None = None, threshold: float = 0.0, top_k: int = -1) -> None:
        self.boxes, self.threshold, self.top_k = boxes, threshold, top_k

    def stay(self, order: Tensor, candidates: Tensor) -> Tensor:
        """Which priors stay (N, P), where `order` (N, P) lists each image's by falling loss, candidates first."""
        assert self.boxes is not None
        boxes = self.boxes.gather(1, order[..., None].expand(-1, -1, 4))
        entries = candidates.gather(1, order) & (areas(boxes) >= _LEAST_AREA)
        if self.top_k >= 0:
            entries &= torch.arange(order.shape[1], device=order.device) < self.top_k
        image, _ = entries.nonzero(as_tuple=True)
        sorted_stay = torch.zeros_like(entries)
        sorted_stay[entries] = non_maximum_suppression(boxes[entries], image, self.threshold)
        return torch.zeros_like(entries).scatter_(1, order, sorted_stay)


def confidence_losses(scores: Tensor, target: Tensor | int, *, softmax: bool) -> Tensor:
    """The loss (N, P) that each prior's scores (N, P, C) alone would have for the class `target`, (N, P) or one."""
    if isinstance(target, int):
        of_target = scores[..., target]
    else:
        of_target = scores.gather(2, target[..., None])[..., 0]
    if softmax:
        return (scores.logsumexp(2) - of_target).clamp(max=_GREATEST_LOSS)
    return F.softplus(scores).sum(2) - of_target


def hard_negatives(
    losses: Tensor, found: Tensor, overlap: Tensor, ratio: float, limit: float, nms: Suppression
) -> Tensor:
    """MAX_NEGATIVE: of each image's priors without object the worst, at most `ratio` times those with one.

    Args:
        losses, found, overlap: (N, P); candidates overlap all objects by less than `limit`.
        nms: suppression among the candidates.

    Returns:
        (N, P) bool.
    """
    candidates = (found == UNMATCHED) & (overlap < limit)
    wanted = ((found >= 0).sum(1).float() * ratio).long()
    return _worst(losses, candidates, wanted, nms)


def hard_examples(losses: Tensor, with_objects: Tensor, count: int, nms: Suppression) -> Tensor:
    """HARD_EXAMPLE: the `count` worst priors, matched or not, of each image that has objects: (N, P) bool."""
    candidates = with_objects[:, None].expand_as(losses)
    return _worst(losses, candidates, torch.full_like(with_objects, count, dtype=torch.int64), nms)


def _worst(losses: Tensor, candidates: Tensor, wanted: Tensor, nms: Suppression) -> Tensor:
    """The `wanted` (N) candidates (N, P) of greatest loss of each image, the first of equals."""
    order = losses.masked_fill(~candidates, -1).argsort(dim=1, descending=True, stable=True)
    if nms.boxes is not None:
        candidates = nms.stay(order, candidates)
    eligible = candidates.gather(1, order)
    chosen = eligible & (eligible.cumsum(1) <= wanted[:, None])
    return torch.zeros_like(candidates).scatter_(1, order, chosen)
