"""Correlation and Correlation1D: patches of one map against displaced patches of another (FlowNet2, DispNet)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.functional.correlation import correlate
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Correlation", "Correlation1D", "PatchRules"]


class PatchRules(NamedTuple):
    """Which patches are compared; the words are those of `correlate`."""

    displacements: tuple[tuple[int, ...], tuple[int, ...]]
    kernel: int
    stride: int
    margin: tuple[int, int]


class _Differences(torch.autograd.Function):
    """Mean absolute differences of padded maps, with FlowNet2's gradient.

    That takes the sign of first - second (1 for 0) at one place of both maps, the one of the other map's pixel, where
    the derivative has the sign of the difference of displaced pixels. It is the gradient that the mean product of such
    signs has.
    """

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, rules: PatchRules) -> Tensor:
        ctx.save_for_backward(first, second)
        ctx.rules = rules
        return correlate(first, second, *rules, subtract=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        first, second = ctx.saved_tensors
        signs = torch.where(first >= second, 1.0, -1.0).to(first.dtype)
        with torch.enable_grad():
            maps = (-signs).requires_grad_(), signs.requires_grad_()
            first_diff, second_diff = torch.autograd.grad(correlate(*maps, *ctx.rules), maps, grad)
        return first_diff, second_diff, None


class _Correlation(Layer):
    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)
    horizontal: ClassVar[bool]  # whether patches are displaced, and maps padded, along rows alone

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, (first, second) = param.correlation_param, map(tuple, bottom_shapes)
        if len(first) != 4 or first != second:
            raise LayerError(f"bottoms of shapes {first} and {second}: both must be one (N, C, H, W)")
        if not p.HasField("kernel_size") or not p.HasField("max_displacement"):
            raise LayerError("correlation_param needs kernel_size and max_displacement")
        if p.kernel_size % 2 == 0:
            raise LayerError(f"correlation_param: kernel_size {p.kernel_size} must be odd")
        if p.stride_1 < 1 or p.stride_2 < 1:
            raise LayerError("correlation_param: stride_1 and stride_2 must be at least 1")
        if not -1 <= p.single_direction <= 1:
            raise LayerError(f"single_direction {p.single_direction} must be -1 (left), 0 (both) or 1 (right)")
        self.subtract = p.correlation_type == p.SUBTRACT
        self.pad = (0 if self.horizontal else p.pad, p.pad)
        self.rules = self._rules(p)
        self._check_size(first)

    def _rules(self, p: pb.CorrelationParameter) -> PatchRules:
        steps = p.max_displacement // p.stride_2
        first, last = -steps, steps
        if self.horizontal and p.single_direction:
            first, last = (-steps - 1, -1) if p.single_direction < 0 else (0, steps)
        columns = tuple(step * p.stride_2 for step in range(first, last + 1))
        margin = 0 if self.horizontal else p.max_displacement
        return PatchRules(
            ((0,) if self.horizontal else columns, columns), p.kernel_size, p.stride_1, (margin, p.max_displacement)
        )

    def _check_size(self, shape: Shape) -> None:
        for axis, name in ((0, "height"), (1, "width")):
            size = shape[2 + axis] + 2 * self.pad[axis]
            need = 2 * self.rules.margin[axis] + self.rules.kernel
            if size < need:
                raise LayerError(
                    f"the padded bottoms' {name} is {size}; kernel_size {self.rules.kernel} and max_displacement "
                    f"{self.rules.margin[1]} need at least {need}"
                )

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """One for each pixel of a patch and each channel."""
        return math.prod(top_shapes[0]) * bottom_shapes[0][1] * self.rules.kernel**2

    def view(self, bottom: Shape, top: Shape) -> View:
        """A patch wherever it is displaced to."""
        high, wide = (max(places) - min(places) + self.rules.kernel for places in self.rules.displacements)
        return View((high, wide), (self.rules.stride, self.rules.stride))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        if not self.subtract:
            return correlate(first, second, *self.rules, pad=self.pad)
        margins = (self.pad[1], self.pad[1], self.pad[0], self.pad[0])
        maps: Tensor = _Differences.apply(F.pad(first, margins), F.pad(second, margins), self.rules)
        return maps


@register("Correlation")
class Correlation(_Correlation):
    """Mean products of patches of two maps, one channel a displacement (lmb-freiburg/flownet2).

    Bottoms: two maps (N, C, H, W), padded by zeros. Patches of kernel_size x kernel_size pixels lie stride_1 apart, so
    that all displaced ones are within the padded maps. Displacements are multiples of stride_2 up to max_displacement
    along both axes, rows outermost: top (N, D * D, H', W') with
    H' = ceil((H + 2 pad - 2 max_displacement - (kernel_size - 1)) / stride_1). A value is the sum over a patch's pixels
    and channels, over their number. correlation_type SUBTRACT: of absolute differences, with a gradient of the
    original's own. The original reads do_abs and single_direction, and uses neither.
    """

    horizontal = False


@register("Correlation1D")
class Correlation1D(_Correlation):
    """Correlation over displacements along rows alone, for stereo (DispNet, after lmb-freiburg/flownet2).

    Two maps (N, C, H, W) give (N, displacements, H_out, W_out).

    The maps are padded along their width alone. single_direction 1 takes displacements 0 to max_displacement, -1 those
    of -(max_displacement + stride_2) to -stride_2; what then lies left of the padded map is 0. Else as Correlation.
    """

    horizontal = True
