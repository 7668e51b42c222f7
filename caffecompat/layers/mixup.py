"""Mixup: what a net trains on are mixtures of two items, by mixup and cutmix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Beta

from caffecompat.layers.class_scores import check_labels
from caffecompat.layers.functional.mixup import Box, cut_box, mixed_items, one_hot
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, values_known
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Mixup"]


@dataclass(frozen=True)
class _Mixture:
    """What items become: `share` of themselves and the rest of their partner, or but for `box`, which is its."""

    share: float = 1.0
    box: Box | None = None


@register("Mixup")
class Mixup(Layer):
    """TRAIN: mixes each item with its partner, the item as far from the batch's end as it is from the start.

    Ours, with the definition of timm's Mixup (its smoothing belongs to the loss: label_smoothing). Bottoms:
    data (N, ...), and one class number each, from 0 to num_classes - 1. Tops: the data; soft labels (N, num_classes),
    for a loss that takes them (SoftmaxWithLoss, FocalLoss, SigmoidCrossEntropyLoss); if named, the class numbers as
    they came, for Accuracy. In TEST, and from iteration off_iter on where that is not 0, the data passes as it is and
    the soft labels are one-hot.

    With probability prob items are mixed: by cutmix with probability switch_prob where both alphas are above 0, else by
    the one that is. Mixup (Zhang et al.) gives share x + (1 - share) partner, share drawn from Beta(mixup_alpha,
    mixup_alpha). Cutmix (Yun et al.), of pictures (N, C, H, W), draws share from Beta(cutmix_alpha, cutmix_alpha) and
    puts the partner's pixels into a box of sqrt(1 - share) of each side, whose center lies anywhere; share becomes the
    part of the pixels that stay. The label is share of the item's class and the rest of its partner's.

    `mode` BATCH draws once for all items, PAIR once for an item and its partner, ELEM for each item by itself. In a
    batch of an odd number the one in the middle is its own partner. What is drawn comes from torch's default generator.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)
    tops: ClassVar[tuple[int, int | None]] = (2, 3)
    follows_iteration: ClassVar[bool] = True
    mixes_items: str = "it mixes the items of a batch"
    not_exported: ClassVar[str] = "mixes what a net trains on"

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, (data, labels) = param.mixup_param, bottom_shapes
        self.classes, self.off, self.mode = p.num_classes, p.off_iter, p.MixupMode.Name(p.mode)
        self.alphas, self.probability, self.switch = (p.mixup_alpha, p.cutmix_alpha), p.prob, p.switch_prob
        if self.classes < 1:
            raise LayerError("mixup_param needs num_classes, the length of the soft labels")
        if not all(0 <= alpha < math.inf for alpha in self.alphas) or not any(self.alphas):
            raise LayerError(
                f"mixup_alpha {self.alphas[0]:g} and cutmix_alpha {self.alphas[1]:g}: one must be above 0, none below"
            )
        for name in ("prob", "switch_prob"):
            if not 0 <= getattr(p, name) <= 1:
                raise LayerError(f"mixup_param: {name} {getattr(p, name):g} must be from 0 to 1")
        if self.off < 0:
            raise LayerError(f"mixup_param: off_iter {self.off} must not be negative")
        if not data or math.prod(labels) != data[0]:
            raise LayerError(
                f"{math.prod(labels)} labels (shape {tuple(labels)}) for data of shape {tuple(data)}; it takes one "
                "class number an item"
            )
        if self.alphas[1] and len(data) != 4:
            raise LayerError(f"cutmix_alpha needs pictures (N, C, H, W), the data has shape {tuple(data)}")

    @classmethod
    def passes_on(cls, param: pb.LayerParameter) -> bool:
        return True

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def forward(self, data: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        index = labels.detach().to(torch.int64)
        check_labels(self.param, index, labels, self.classes, "set mixup_param.num_classes")
        classes = one_hot(index.flatten(), self.classes).to(labels.dtype)
        mixtures = self._drawn(data)
        if any(mixture.share != 1 for mixture in mixtures):
            data = self._mixed(data, mixtures)
            share = classes.new_tensor([mixture.share for mixture in mixtures])[:, None]
            classes = classes * share + classes.flip(0) * (1 - share)
        return (data, classes, labels)[: self.top_count]

    def _drawn(self, data: Tensor) -> list[_Mixture]:
        """What becomes of the items, one entry for all or one for each; [] where nothing does."""
        if not self.training or not values_known(data) or 0 < self.off <= self.iteration:
            return []
        count = len(data)
        if self.mode == "BATCH":
            return [self._draw(data.shape)]
        if self.mode == "ELEM":
            return [self._draw(data.shape) for _ in range(count)]
        pairs = [self._draw(data.shape) for _ in range(count // 2)]
        return [*pairs, *[_Mixture()] * (count % 2), *reversed(pairs)]

    def _draw(self, shape: Shape) -> _Mixture:
        if torch.rand(()).item() >= self.probability:
            return _Mixture()
        mixes, cuts = self.alphas[0] > 0, self.alphas[1] > 0
        if mixes and cuts:
            cuts = torch.rand(()).item() < self.switch
        alpha = self.alphas[1] if cuts else self.alphas[0]
        share = Beta(alpha, alpha).sample().item()
        if not cuts:
            return _Mixture(share)
        height, width = shape[2:]
        row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
        box = cut_box(share, (height, width), (row, column))
        return _Mixture(1 - box.area / (height * width), box)

    def _mixed(self, data: Tensor, mixtures: Sequence[_Mixture]) -> Tensor:
        partners, top = data.flip(0), data.clone()
        for at, mixture in enumerate(mixtures):
            rows = slice(None) if self.mode == "BATCH" else slice(at, at + 1)
            if mixture.share != 1:
                top[rows] = mixed_items(data[rows], partners[rows], mixture.share, mixture.box)
        return top
