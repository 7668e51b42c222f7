"""MarginInnerProduct: SphereFace's class scores, whose angle to the label's weight must keep a margin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from caffecompat.layers.class_scores import check_labels
from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["MarginInnerProduct"]


def _margin(kind: int, cosine: Tensor) -> tuple[Tensor, Tensor]:
    """psi(angle) = (-1)^k cos(m angle) - 2 k for m = 2, 3, 4 (kind 1, 2, 3), and its derivative by the cosine."""
    sign = cosine.sign()
    if kind == 1:
        return 2 * sign * cosine**2 - 1, 4 * sign * cosine
    if kind == 2:
        inner = (cosine.abs() - 0.5).sign()
        return inner * (4 * cosine**3 - 3 * cosine) + sign * (1 + inner) - 2, inner * (12 * cosine**2 - 3)
    inner = sign * (2 * cosine**2 - 1).sign()
    value = inner * (8 * cosine**4 - 8 * cosine**2 + 1) + 2 * sign + inner - 3
    return value, inner * (32 * cosine**3 - 16 * cosine)


class _Scores(torch.autograd.Function):
    """x w, but at the labels (strength x w + |x| psi) / (1 + strength).

    SphereFace's gradients: the weight's is that of x w everywhere; of the margin's share at a label, the one for x is
    brought to a length of about 1 (its coefficients of w and of x are divided by the root of their squares' sum).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, index: Tensor, kind: int, strength: float) -> Tensor:
        scores = x @ weight.t()
        ctx.kind, ctx.strength = kind, strength
        ctx.save_for_backward(x, weight, index)
        if kind == 0:
            return scores
        plain, norm = scores.gather(1, index), x.norm(dim=1, keepdim=True)
        value, _ = _margin(kind, plain / norm)
        return scores.scatter(1, index, (strength * plain + norm * value) / (1 + strength))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, weight, index = ctx.saved_tensors
        by_weight = grad.t() @ x if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, by_weight, None, None, None
        if ctx.kind == 0:
            return grad @ weight, by_weight, None, None, None
        own = weight[index[:, 0]]
        norm = x.norm(dim=1, keepdim=True)
        cosine = (x * own).sum(1, keepdim=True) / norm
        value, slope = _margin(ctx.kind, cosine)
        of_x = (value - slope * cosine) / norm
        length = (slope**2 + of_x**2).sqrt()
        at_label = grad.gather(1, index)
        margin = (slope * own + of_x * x) / length
        by_x = grad.scatter(1, index, 0.0) @ weight
        by_x = by_x + at_label * (margin + ctx.strength * own) / (1 + ctx.strength)
        return by_x, by_weight, None, None, None


@register("MarginInnerProduct")
class MarginInnerProduct(Layer):
    """Scores |x| cos(angle to each class's weight), at the label with a multiple of the angle (wy1iu/sphereface).

    Bottoms: features, whose axes from `axis` on are a vector x; one label each. Blob: weight (num_output, K), whose
    rows every forward, also in TEST, brings to length 1. With type DOUBLE, TRIPLE or QUADRUPLE (m = 2, 3, 4) the
    label's score is (lambda |x| cos(t) + |x| psi(t)) / (1 + lambda), psi(t) = (-1)^k cos(m t) - 2 k, and lambda =
    max(base (1 + gamma n)^-power, lambda_min) at the n-th forward, counted from `iteration`, which original Caffe needs
    set where training goes on. Tops: scores (..., num_output); lambda (1), where named. The gradients are SphereFace's
    own.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)
    tops: ClassVar[tuple[int, int | None]] = (1, 2)
    not_exported: ClassVar[str] = "reads labels, which there are in training alone"
    remembers = ("iteration",)
    weight: nn.Parameter

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, (features, labels) = param.margin_inner_product_param, bottom_shapes
        if p.num_output < 1:
            raise LayerError("margin_inner_product_param needs num_output, at least 1")
        self.axis = self.axis_index(p.axis, features)
        self.inputs = math.prod(features[self.axis :])
        if math.prod(labels) != math.prod(features[: self.axis]):
            raise LayerError(
                f"{math.prod(labels)} labels (shape {tuple(labels)}) for {math.prod(features[: self.axis])} features"
            )
        self.iteration = int(p.iteration)
        self.kind = p.type
        self.base, self.gamma, self.power, self.least_strength = p.base, p.gamma, p.power, p.lambda_min
        self.add_blob("weight", (p.num_output, self.inputs), p.weight_filler)

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """Multiply-accumulates: each score sums K products."""
        return math.prod(top_shapes[0]) * self.inputs

    def forward(self, features: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, ...]:
        self.iteration += 1
        strength = max(self.base * (1 + self.gamma * self.iteration) ** -self.power, self.least_strength)
        index = labels.detach().long().flatten()
        check_labels(self.param, index, labels.detach().flatten(), len(self.weight))
        if not features.is_meta:
            with torch.no_grad():
                self.weight.div_(self.weight.norm(dim=1, keepdim=True))
        rows = features.reshape(-1, self.inputs)
        scores = _Scores.apply(rows, self.weight, index[:, None], self.kind, strength)
        scores = scores.reshape(*features.shape[: self.axis], len(self.weight))
        return scores if self.top_count == 1 else (scores, features.new_full((1,), strength))
