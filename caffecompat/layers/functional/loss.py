"""Cross-entropy of sigmoids for maps of few positives among many negatives, such as edges."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["balanced_cross_entropy"]


def balanced_cross_entropy(scores: Tensor, labels: Tensor, negative_factor: float) -> Tensor:
    """Per image, positives weigh as much as negatives; then the mean over the images.

    With P values labeled 1 and N labeled 0 in an image, the loss of each 1 is multiplied by N / (P + N), that of each 0
    by negative_factor P / (P + N); any other label leaves its value out, and the gradient too.

    Args:
        scores: (images, ...), before the sigmoid.
        labels: as many values.
    """
    rows = scores.reshape(scores.shape[0], -1)
    labels = labels.detach().reshape(rows.shape)
    positive, negative = (labels == 1).to(rows.dtype), (labels == 0).to(rows.dtype)
    positives, negatives = positive.sum(1, keepdim=True), negative.sum(1, keepdim=True)
    weight = (positive * negatives + negative * positives * negative_factor) / (positives + negatives).clamp(min=1)
    total = F.binary_cross_entropy_with_logits(rows, positive, weight=weight, reduction="sum")
    return total / max(rows.shape[0], 1)
