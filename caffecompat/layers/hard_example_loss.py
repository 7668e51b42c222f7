"""R-FCN's online hard example mining: losses that also give the loss of each region, and the choice of the worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.registry import register
from caffecompat.layers.regression_loss import SmoothL1Loss
from caffecompat.layers.softmax_loss import SoftmaxWithLoss
from caffecompat.schema import pb

__all__ = ["BoxAnnotatorOHEM", "SmoothL1LossOHEM", "SoftmaxWithLossOHEM"]


@register("SoftmaxWithLossOHEM")
class SoftmaxWithLossOHEM(SoftmaxWithLoss):
    """SoftmaxWithLoss, under the name by which R-FCN's Caffe has its third top: the loss of each label by itself.

    Shapes as of SoftmaxWithLoss.
    """


@register("SmoothL1LossOHEM")
class SmoothL1LossOHEM(SmoothL1Loss):
    """SmoothL1Loss in R-FCN's form alone: its normalization is VALID by default, and there are no outer weights.

    Shapes as of SmoothL1Loss.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (2, 3)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.mode = self._mode("VALID")


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
    not_exported: ClassVar[str] = "reads labels, which there are in training alone"

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
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
