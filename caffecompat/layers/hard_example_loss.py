"""R-FCN's online hard example mining: losses that also give the loss of each region, and the choice of the worst."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.classes import class_index, softmax
from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.loss import SoftmaxWithLoss
from caffecompat.layers.registry import register
from caffecompat.layers.regression_loss import Distance

__all__ = ["BoxAnnotatorOHEM", "SmoothL1LossOHEM", "SoftmaxWithLossOHEM"]


@register("SoftmaxWithLossOHEM")
class SoftmaxWithLossOHEM(SoftmaxWithLoss):
    """SoftmaxWithLoss whose third top is the loss of each label by itself, in the labels' shape (R-FCN's Caffe).

    It is 0 where the label is ignored, and passes no gradient back.
    """

    tops: ClassVar[tuple[int, int | None]] = (0, 3)

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, ...]:
        made = super().forward(scores, labels)
        if self.top_count < 3:
            return made
        index, counted = class_index(self.param, labels, scores, self.axis, self.ignore)
        log_probability = softmax(scores.detach(), self.axis, F.log_softmax).gather(self.axis, index)
        losses = -log_probability.clamp(min=math.log(torch.finfo(torch.float32).tiny))
        losses = losses if counted is None else losses * counted
        return (*made, losses.movedim(self.axis, -1).reshape(labels.shape))


@register("SmoothL1LossOHEM")
class SmoothL1LossOHEM(Distance):
    """Sum of huber(weight (a - b)), as SmoothL1Loss with sigma 1; the second top is the sum of each position by itself.

    After daijifeng001/caffe-rfcn: divided by loss_param.normalization, default VALID, which like FULL counts positions,
    batch items x height x width; PRE_FIXED divides by pre_fixed_normalizer. The weight is bottom 2, where there is one.
    The second top is (N, 1, H, W), sums over the channels, and passes no gradient back.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (2, 3)
    tops: ClassVar[tuple[int, int | None]] = (0, 2)

    def __init__(self, param: Any, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        if len(bottom_shapes[0]) > 4:
            raise LayerError(f"{param.bottom[0]!r} of shape {tuple(bottom_shapes[0])} has more than 4 axes")
        self.mode = self._mode("VALID")

    def forward(self, a: Tensor, b: Tensor, *weights: Tensor) -> Tensor | tuple[Tensor, ...]:
        difference = a - b.reshape(a.shape)
        if weights:
            difference = difference * weights[0].detach().reshape(a.shape)
        losses = F.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none")
        loss = self.normalized(losses.sum(), self.mode, a.shape[0], a.shape[0] * math.prod(a.shape[2:]))
        if self.top_count == 1:
            return loss
        planes = losses.detach().reshape(*a.shape, *[1] * (4 - a.dim()))
        return loss, planes.sum(1, keepdim=True)


@register("BoxAnnotatorOHEM")
class BoxAnnotatorOHEM(Layer):
    """Leaves the labels and box weights of the roi_per_img regions of each image that have the greatest loss (R-FCN).

    After daijifeng001/caffe-rfcn. Bottoms: regions (R, 5, H, W), rows [batch item, xmin, ymin, xmax, ymax]; the loss
    of each and its label, (R, 1, H, W) or (R) each; weights (R, C, H, W). Tops: labels (R, 1, H, W), ignore_label for
    the other regions; weights (R, C, H, W), 0 for the others. Of equal losses the first region's goes first, which is
    not defined there. No gradient.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (4, 4)
    tops: ClassVar[tuple[int, int | None]] = (2, 2)

    def __init__(self, param: Any, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.box_annotator_ohem_param
        if p.roi_per_img < 1:
            raise LayerError("box_annotator_ohem_param needs roi_per_img, at least 1")
        self.count, self.ignore = p.roi_per_img, p.ignore_label
        regions, losses, labels, weights = (_four_axes(shape) for shape in bottom_shapes)
        count, _, *plane = regions
        if regions[1] != 5:
            raise LayerError(f"regions of shape {tuple(bottom_shapes[0])}: each must have 5 values")
        for name, shape, channels in zip(param.bottom[1:], (losses, labels, weights), (1, 1, weights[1]), strict=True):
            if list(shape) != [count, channels, *plane]:
                wanted = (count, channels, *plane)
                raise LayerError(f"{name!r} of shape {shape} does not fit the regions; expected {wanted}")

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    @torch.no_grad()
    def forward(self, regions: Tensor, losses: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        shape = _four_axes(tuple(regions.shape))
        plane = (shape[0], 1, *shape[2:])
        image = regions.reshape(shape)[:, 0].flatten().long()
        order = losses.flatten().sort(descending=True, stable=True)[1]
        order = order[image[order].sort(stable=True)[1]]
        groups = image[order]
        rank = torch.arange(len(order), device=order.device) - torch.searchsorted(groups, groups)
        chosen = torch.zeros_like(image, dtype=torch.bool).scatter_(0, order, rank < self.count).reshape(plane)
        kept = torch.where(chosen, labels.reshape(plane), labels.new_full((), self.ignore))
        return kept, torch.where(chosen, weights.reshape(_four_axes(tuple(weights.shape))), weights.new_zeros(()))


def _four_axes(shape: Shape) -> Shape:
    """A shape with axes of 1 to the four that Caffe's older layers see."""
    return (*shape, 1, 1, 1, 1)[:4] if len(shape) < 4 else tuple(shape)
