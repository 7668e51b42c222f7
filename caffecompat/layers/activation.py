"""Activations: layers that treat every value by itself (PReLU has a learned slope)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = [
    "BNLL",
    "ELU",
    "GELU",
    "AbsVal",
    "Clip",
    "Exp",
    "HardSigmoid",
    "HardSwish",
    "Log",
    "Mish",
    "PReLU",
    "Power",
    "ReLU",
    "ReLU6",
    "Sigmoid",
    "Swish",
    "TanH",
    "Threshold",
]


@register("ReLU")
class ReLU(Layer):
    """max(x, 0) + negative_slope min(x, 0) (BVLC).

    `inplace` is set by the net where nobody else needs the bottom; it counts without a slope only.
    """

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True
    inplace: bool = False

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.slope = param.relu_param.negative_slope

    def forward(self, bottom: Tensor) -> Tensor:
        if self.slope:
            return F.leaky_relu(bottom, self.slope)
        return F.relu(bottom, self.inplace and not torch.compiler.is_compiling())


@register("ReLU6")
class ReLU6(Layer):
    """min(max(x, 0), 6) + negative_slope min(x, 0); the slope is relu_param's (Xilinx)."""

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.slope = param.relu_param.negative_slope

    def forward(self, bottom: Tensor) -> Tensor:
        top = F.relu6(bottom)
        return top + self.slope * bottom.clamp(max=0) if self.slope else top


@register("PReLU")
class PReLU(Layer):
    """max(x, 0) + slope min(x, 0) with a learned slope a channel (axis 1).

    Blob: slope (C), or a single value () with `channel_shared: true`; without a
    filler it starts at 0.25 (BVLC).
    """

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True
    slope: Tensor

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, shape = param.prelu_param, bottom_shapes[0]
        if len(shape) < 2:
            raise LayerError(f"PReLU needs a channel axis (axis 1), its bottom has shape {tuple(shape)}")
        filler = p.filler if p.HasField("filler") else None
        self.add_blob("slope", () if p.channel_shared else (shape[1],), filler)
        if filler is None:
            torch.nn.init.constant_(self.slope, 0.25)

    def forward(self, bottom: Tensor) -> Tensor:
        return F.prelu(bottom, self.slope)


class _ScaledELU(torch.autograd.Function):
    """Jacinto's ELU with lambda: only the positive half is scaled forward, both halves backward."""

    @staticmethod
    def forward(ctx: Any, bottom: Tensor, alpha: float, scale: float) -> Tensor:
        negative = alpha * torch.expm1(bottom.clamp(max=0))
        top = scale * bottom.clamp(min=0) + negative
        ctx.save_for_backward(bottom, negative)
        ctx.alpha, ctx.scale = alpha, scale
        return top

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        bottom, negative = ctx.saved_tensors
        slope = torch.where(bottom > 0, torch.ones_like(bottom), negative + ctx.alpha)
        return grad * slope * ctx.scale, None, None


@register("ELU")
class ELU(Layer):
    """x where x > 0, alpha (e^x - 1) elsewhere (BVLC).

    With `lambda` (Jacinto): forward lambda max(x, 0) + alpha (e^min(x, 0) - 1), whose gradient is
    lambda ((x > 0) + (alpha + y) (x <= 0)), as that fork computes it.
    """

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.alpha = param.elu_param.alpha
        self.scale = getattr(param.elu_param, "lambda")

    def forward(self, bottom: Tensor) -> Tensor:
        if self.scale == 1:
            return F.elu(bottom, self.alpha)
        top: Tensor = _ScaledELU.apply(bottom, self.alpha, self.scale)
        return top


@register("Sigmoid")
class Sigmoid(Layer):
    """1 / (1 + e^-x) (BVLC)."""

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True
    gives_shares: ClassVar[bool] = True
    detection_head: ClassVar[bool] = True

    def forward(self, bottom: Tensor) -> Tensor:
        return torch.sigmoid(bottom)


@register("TanH")
class TanH(Layer):
    """Hyperbolic tangent (BVLC)."""

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True

    def forward(self, bottom: Tensor) -> Tensor:
        return torch.tanh(bottom)


@register("BNLL")
class BNLL(Layer):
    """Binomial normal log likelihood: log(1 + e^x) (BVLC)."""

    keeps_pixels: ClassVar[bool] = True

    def forward(self, bottom: Tensor) -> Tensor:
        return F.softplus(bottom, threshold=50)


@register("AbsVal")
class AbsVal(Layer):
    """|x| (BVLC)."""

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.refuse_in_place()

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.abs()


@register("Swish", "SiLU")
class Swish(Layer):
    """x sigmoid(beta x) (BVLC); SiLU is MyCaffe's name of it, with a beta of 1. Any shape."""

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.beta = param.swish_param.beta

    def forward(self, bottom: Tensor) -> Tensor:
        return F.silu(bottom) if self.beta == 1 else bottom * torch.sigmoid(self.beta * bottom)


@register("Mish")
class Mish(Layer):
    """x tanh(log(1 + e^x)), of any shape, in the forks that darknet2caffe's YOLO v4 files are for."""

    keeps_pixels: ClassVar[bool] = True
    precision = Precision.HALF

    def forward(self, bottom: Tensor) -> Tensor:
        return F.mish(bottom)


@register("HardSigmoid")
class HardSigmoid(Layer):
    """min(max(x + 3, 0), 6) / 6, in the forks for MobileNet v3; min(max(alpha x + beta, 0), 1) where alpha is given.

    Any shape.
    """

    keeps_pixels: ClassVar[bool] = True
    precision = Precision.HALF

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.hardsigmoid_parm if param.HasField("hardsigmoid_parm") else param.hardsigmoid_param
        self.alpha = p.alpha if p.HasField("alpha") else 1 / 6
        self.beta = p.beta

    def forward(self, bottom: Tensor) -> Tensor:
        return (self.alpha * bottom + self.beta).clamp(0, 1)


@register("HardSwish", "HSwish")
class HardSwish(Layer):
    """x min(max(x + 3, 0), 6) / 6, in the forks for MobileNet v3; HSwish in aovoc/caffe. Any shape."""

    keeps_pixels: ClassVar[bool] = True
    precision = Precision.HALF

    def forward(self, bottom: Tensor) -> Tensor:
        return F.hardswish(bottom)


@register("GELU")
class GELU(Layer):
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, of any shape (MyCaffe).

    kaveena/caffe-pruning has 0.405285 in the place of sqrt(2 / pi), and does not register its layer.
    """

    keeps_pixels: ClassVar[bool] = True
    precision = Precision.HALF

    def forward(self, bottom: Tensor) -> Tensor:
        return F.gelu(bottom, approximate="tanh")


@register("Clip")
class Clip(Layer):
    """min(max(x, clip_param.min), clip_param.max); both are required (BVLC)."""

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.clip_param
        missing = [name for name in ("min", "max") if not p.HasField(name)]
        if missing:
            raise LayerError(f"clip_param needs {' and '.join(missing)}")
        if p.min > p.max:
            raise LayerError(f"clip_param: min {p.min:g} is above max {p.max:g}")
        self.least, self.most = p.min, p.max

    def forward(self, bottom: Tensor) -> Tensor:
        # Caffe's slope is 1 at both limits; that of torch's clamp depends on the version.
        within = (bottom >= self.least) & (bottom <= self.most)
        return torch.where(within, bottom, bottom.detach().clamp(self.least, self.most))


@register("Threshold")
class Threshold(Layer):
    """1 where x > threshold, else 0; nothing flows back (BVLC)."""

    keeps_pixels: ClassVar[bool] = True
    chooses: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.threshold = param.threshold_param.threshold

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    def forward(self, bottom: Tensor) -> Tensor:
        return (bottom > self.threshold).to(bottom.dtype)


@register("Power")
class Power(Layer):
    """(shift + scale x)^power (BVLC)."""

    keeps_pixels: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.power_param
        self.power, self.scale, self.shift = p.power, p.scale, p.shift

    def forward(self, bottom: Tensor) -> Tensor:
        inner = _affine(bottom, self.scale, self.shift)
        return inner if self.power == 1 else torch.pow(inner, self.power)


@register("Exp")
class Exp(Layer):
    """base^(shift + scale x); base -1 stands for e (BVLC)."""

    keeps_pixels: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.exp_param
        log_base = _log_base(p)
        self.scale, self.shift = p.scale * log_base, p.shift * log_base

    def forward(self, bottom: Tensor) -> Tensor:
        return torch.exp(_affine(bottom, self.scale, self.shift))


@register("Log")
class Log(Layer):
    """log_base(shift + scale x); base -1 stands for e (BVLC)."""

    keeps_pixels: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.log_param
        self.scale, self.shift = p.scale, p.shift
        log_base = _log_base(p)
        if log_base == 0:
            raise LayerError("log_param: there is no logarithm to base 1")
        self.factor = 1 / log_base

    def forward(self, bottom: Tensor) -> Tensor:
        top = torch.log(_affine(bottom, self.scale, self.shift))
        return top if self.factor == 1 else top * self.factor


def _affine(bottom: Tensor, scale: float, shift: float) -> Tensor:
    """shift + scale x, leaving out what changes nothing."""
    if scale != 1:
        bottom = bottom * scale
    return bottom + shift if shift else bottom


def _log_base(p: pb.ExpParameter | pb.LogParameter) -> float:
    """Natural logarithm of the field `base`, of which -1 is e."""
    if p.base == -1:
        return 1.0
    if p.base <= 0:
        raise LayerError(f"base {p.base:g} must be positive (or -1 for e)")
    return math.log(p.base)
