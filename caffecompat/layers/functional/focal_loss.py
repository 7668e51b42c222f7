"""Focal loss of Lin et al., "Focal Loss for Dense Object Detection": sure values count less."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["focal_losses", "sigmoid_focal_losses"]


def focal_losses(log_probability: Tensor, gamma: float, alpha: float) -> Tensor:
    """alpha (1 - p)^gamma x -log p of each value, p the probability of what is right."""
    return -alpha * _focus(-torch.expm1(log_probability), gamma) * log_probability


def sigmoid_focal_losses(scores: Tensor, targets: Tensor, gamma: float, alpha: float) -> Tensor:
    """Of each score x with target t (0 to 1), s the sigmoid and q = s t + (1 - s) (1 - t) the probability of t.

    (alpha t + (1 - alpha) (1 - t)) (1 - q)^gamma x (-t log s - (1 - t) log(1 - s)).
    """
    probability = torch.sigmoid(scores)
    wrong = probability * (1 - targets) + (1 - probability) * targets
    losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    return (alpha * targets + (1 - alpha) * (1 - targets)) * _focus(wrong, gamma) * losses


def _focus(wrong: Tensor, gamma: float) -> Tensor:
    """wrong^gamma, whose gradient at 0 is 0 for a gamma below 1, too: there that of the whole loss vanishes."""
    return wrong.clamp(min=torch.finfo(wrong.dtype).tiny) ** gamma
