"""CenterLoss: features are pulled toward a center of their class, which is learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from caffecompat.layers.class_scores import check_labels
from caffecompat.layers.layer import Context, LayerError, Shape
from caffecompat.layers.loss import LossLayer
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["CenterLoss"]


class _Centered(torch.autograd.Function):
    """Sum of squared distances of features (M, K) from the centers (N, K) of their classes (M), over 2 M.

    The centers' "gradient" is none: each is the sum of the distances to its features over 1 + their count, whatever
    the weight of the loss, so that a learning rate below 1 moves a center part of the way.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, index: Tensor, centers: Tensor) -> Tensor:
        distance = features - centers[index]
        ctx.save_for_backward(distance, index)
        ctx.classes = len(centers)
        return distance.square().sum() / (2 * len(features))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor | None]:
        distance, index = ctx.saved_tensors
        moves = None
        if ctx.needs_input_grad[2]:
            sums = distance.new_zeros((ctx.classes, distance.shape[1])).index_add_(0, index, -distance)
            counts = distance.new_zeros(ctx.classes).index_add_(0, index, torch.ones_like(distance[:, 0]))
            moves = sums / (counts + 1)[:, None]
        return grad * distance / len(distance), None, moves


@register("CenterLoss")
class CenterLoss(LossLayer):
    """Sum over the batch of half the squared distance between a feature and the center of its class, over N.

    After ydwen/caffe-face; Xilinx' is the same. Bottoms: features (N, ...), one label an item. Blob: centers
    (num_output, K), K the values of a feature. The centers do not follow the gradient of the loss: theirs is the sum of
    (center - feature) over 1 + the number of the batch's features in the class, and no loss_weight scales it.
    """

    centers: nn.Parameter

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, (features, labels) = param.center_loss_param, bottom_shapes
        if p.num_output < 1:
            raise LayerError("center_loss_param needs num_output, the number of classes")
        if self.axis_index(p.axis, features) != 1:
            raise LayerError(f"center_loss_param: axis {p.axis} must be 1: an item of the batch has one feature")
        if math.prod(labels) != features[0]:
            raise LayerError(f"{math.prod(labels)} labels (shape {tuple(labels)}) for {features[0]} batch items")
        self.add_blob("centers", (p.num_output, math.prod(features[1:])), p.center_filler)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        index = labels.detach().long().flatten()
        check_labels(self.param, index, labels.detach().flatten(), len(self.centers))
        loss: Tensor = _Centered.apply(features.flatten(1), index, self.centers)
        return loss
