"""Convolution, Deconvolution and Im2col, over one, two or three spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from caffecompat.layers.functional.convolution import im2col
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View, missing_output
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["BaseConvolution", "Convolution", "Deconvolution", "Im2col"]

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_DECONVOLVE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_ONEDNN_BLOCK = 16  # channels


def _per_axis(
    param: pb.ConvolutionParameter, name: str, axes: int, default: int | None, *, pair: bool = True, zero: bool = False
) -> Shape:
    """One value a spatial axis, from the repeated field `name` or from its `_h`/`_w` form."""
    given = list(getattr(param, name))
    stem = name.removesuffix("_size")
    if pair and (param.HasField(f"{stem}_h") or param.HasField(f"{stem}_w")):
        if given:
            raise LayerError(f"give {name} or {stem}_h and {stem}_w, not both")
        if axes != 2:
            raise LayerError(f"{stem}_h and {stem}_w are for 2 spatial axes, the bottom has {axes}; use {name}")
        given = [getattr(param, f"{stem}_h"), getattr(param, f"{stem}_w")]
    if not given:
        if default is None:
            raise LayerError(f"{name} (or {stem}_h and {stem}_w) is missing")
        given = [default]
    if len(given) not in (1, axes):
        raise LayerError(f"{name} has {len(given)} values for {axes} spatial axes; give one, or one an axis")
    if not zero and 0 in given:
        raise LayerError(f"{name} must be positive on every axis, it is {given}")
    return tuple(given if len(given) == axes else given * axes)


class _Windowed(Layer):
    """What the three share: kernel, stride, pad and dilation (BVLC base_conv_layer.cpp)."""

    precision = Precision.HALF
    bottoms: ClassVar[tuple[int, int | None]] = (1, None)
    tops: ClassVar[tuple[int, int | None]] = (1, None)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, shape = param.convolution_param, tuple(bottom_shapes[0])
        if len(param.top) != len(bottom_shapes):
            raise LayerError(f"{self.type} makes one top of each bottom: {len(bottom_shapes)} against {len(param.top)}")
        if any(tuple(other) != shape for other in bottom_shapes):
            raise LayerError(f"all bottoms must have one shape, they are {[tuple(s) for s in bottom_shapes]}")
        self.axis = self.axis_index(p.axis, shape)
        self._axes = len(shape)  # of every bottom
        axes = self._axes - self.axis - 1
        if not 1 <= axes <= 3:
            raise LayerError(
                f"1 to 3 spatial axes can follow the channel axis {self.axis}, a bottom of shape {shape} has {axes}"
            )
        self.kernel = _per_axis(p, "kernel_size", axes, None)
        self.stride = _per_axis(p, "stride", axes, 1)
        self.pad = _per_axis(p, "pad", axes, 0, zero=True)
        self.dilation = _per_axis(p, "dilation", axes, 1, pair=False)

    @property
    def spans(self) -> Shape:
        """How far the dilated kernel reaches on each spatial axis."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))

    def view(self, bottom: Shape, top: Shape) -> View | None:
        return View((self.spans[0], self.spans[1]), (self.stride[0], self.stride[1])) if self.axis == 1 else None

    def _check_fits(self, shape: Shape) -> None:
        for size, pad, span in zip(shape[self.axis + 1 :], self.pad, self.spans, strict=True):
            if span > size + 2 * pad:
                raise LayerError(
                    f"the kernel (kernel_size {self.kernel}, dilation {self.dilation}) reaches over {span} values,"
                    f" the padded bottom has {size + 2 * pad} (shape {tuple(shape)}, pad {self.pad})"
                )

    def _batched(self, bottom: Tensor) -> Tensor:
        """The bottom as (N, C, spatial...): all axes before the channels are the batch."""
        if bottom.dim() != self._axes:
            raise LayerError(f"was made for {len(self.kernel)} spatial axes, not for a bottom of {tuple(bottom.shape)}")
        return bottom if self.axis == 1 else bottom.reshape(-1, *bottom.shape[self.axis :])

    def _like(self, top: Tensor, bottom: Tensor) -> Tensor:
        return top if self.axis == 1 else top.reshape(*bottom.shape[: self.axis], *top.shape[1:])

    def forward(self, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        if len(bottoms) == 1:
            return self._like(self._apply_one(self._batched(bottoms[0])), bottoms[0])
        return tuple(self._like(self._apply_one(self._batched(b)), b) for b in bottoms)

    def _apply_one(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class BaseConvolution(_Windowed):
    """Convolution's and Deconvolution's blobs: weight, then bias (C_out) unless bias_term is false.

    The weight is held in C order. In a net that computes in channels_last (`channels_last`) it is brought into that
    format first: torch convolves as the weight or the bottom is laid out, and would otherwise copy the weight in the
    forward pass and again in the backward pass.
    """

    channels_last: bool = False
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.convolution_param
        self.group, outputs, channels = p.group, p.num_output, bottom_shapes[0][self.axis]
        if outputs < 1:
            raise LayerError(missing_output(param, "convolution_param"))
        if self.group < 1 or channels % self.group or outputs % self.group:
            raise LayerError(
                f"group {self.group} must divide both the bottom's {channels} channels and num_output {outputs}"
            )
        self.add_blob("weight", self._weight_shape(channels, outputs) + self.kernel, p.weight_filler)
        if p.bias_term:
            self.add_blob("bias", (outputs,), p.bias_filler)
        else:
            self.register_parameter("bias", None)

    def _weight_shape(self, channels: int, outputs: int) -> Shape:
        raise NotImplementedError

    @property
    def _laid_out(self) -> Tensor:
        """The weight in the format that torch is to convolve in."""
        if not self.channels_last or len(self.kernel) != 2:
            return self.weight
        # Not contiguous(): with one input channel it leaves the strides as they are, and torch then runs NCHW.
        return self.weight.to(memory_format=torch.channels_last)


@register("Convolution")
class Convolution(BaseConvolution):
    """Cross-correlation with a weight (C_out, C_in / group, k...) and a bias (C_out).

    Each spatial axis gives floor((in + 2 pad - (dilation (k - 1) + 1)) / stride) + 1. Several
    bottoms share the weights and give a top each. `axis` moves the channels (all axes before
    it are the batch).
    """

    frees_top: ClassVar[bool] = True
    weighted: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self._check_fits(bottom_shapes[0])
        self._convolve = _CONVOLVE[len(self.kernel)]
        self._picks = self._is_picked(bottom_shapes[0][self.axis])

    def _is_picked(self, channels: int) -> bool:
        """Whether the positions that a strided 1x1 kernel sees are picked first, and convolved with stride 1.

        The same sums. oneDNN's gradient by the weight of these convolutions, on a CPU in channels_last with fewer
        channels than its blocks have, writes beyond its memory: wrong gradients, endless loops, crashes (oneDNN's
        issue 6035).
        """
        plain = self.kernel == (1, 1) and not any(self.pad)
        return plain and max(self.stride) > 1 and channels // self.group < _ONEDNN_BLOCK

    def _weight_shape(self, channels: int, outputs: int) -> Shape:
        return outputs, channels // self.group

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """Multiply-accumulates: each top value sums C_in / group x kernel products."""
        return sum(math.prod(top) for top in top_shapes) * (self.weight.numel() // self.weight.shape[0])

    def _apply_one(self, x: Tensor) -> Tensor:
        stride: Shape = self.stride
        if self._picks:
            x, stride = x[:, :, :: stride[0], :: stride[1]], (1, 1)
        return self._convolve(x, self._laid_out, self.bias, stride, self.pad, self.dilation, self.group)


@register("Deconvolution")
class Deconvolution(BaseConvolution):
    """The convolution's gradient as a layer: weight (C_in, C_out / group, k...), bias (C_out).

    Each spatial axis gives stride (in - 1) + dilation (k - 1) + 1 - 2 pad. Fillers see the
    weight's own shape, so their fans are those of the convolution it reverses.
    """

    frees_top: ClassVar[bool] = True
    weighted: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        for size, step, span, pad in zip(
            bottom_shapes[0][self.axis + 1 :], self.stride, self.spans, self.pad, strict=True
        ):
            if step * (size - 1) + span - 2 * pad < 1:
                raise LayerError(f"pad {self.pad} leaves nothing of the output of a bottom of shape {bottom_shapes[0]}")
        self._deconvolve = _DECONVOLVE[len(self.kernel)]

    def _weight_shape(self, channels: int, outputs: int) -> Shape:
        return channels, outputs // self.group

    def view(self, bottom: Shape, top: Shape) -> View | None:
        """A value of the top is a sum over as many of the bottom as a kernel reaches strides."""
        if self.axis != 1:
            return None
        reach = [-(-span // stride) for span, stride in zip(self.spans, self.stride, strict=True)]
        return View((reach[0], reach[1]), (1 / self.stride[0], 1 / self.stride[1]))

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """Multiply-accumulates: each bottom value is spread over C_out / group x kernel products."""
        return sum(math.prod(bottom) for bottom in bottom_shapes) * (self.weight.numel() // self.weight.shape[0])

    def _apply_one(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.weight.shape[0]:  # torch sees it only with values
            raise LayerError(f"takes {self.weight.shape[0]} channels, a bottom of shape {tuple(x.shape)} has others")
        return self._deconvolve(x, self._laid_out, self.bias, self.stride, self.pad, 0, self.group, self.dilation)


@register("Im2col")
class Im2col(_Windowed):
    """Each window laid out along the channels: (N, C, in...) -> (N, C x kernel, out...), channel-major."""

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self._check_fits(bottom_shapes[0])

    def _apply_one(self, x: Tensor) -> Tensor:
        return im2col(x, self.kernel, self.stride, self.pad, self.dilation)
