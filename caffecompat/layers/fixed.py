"""Xilinx' fixed-point simulation: FixedNeuron, and the layers that compute with quantized parameters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from caffecompat.layers.activation import PReLU
from caffecompat.layers.convolution import Convolution, Deconvolution
from caffecompat.layers.fixed_point import activations_to_grid, find_position
from caffecompat.layers.functional.fixed_point import step_of, to_grid
from caffecompat.layers.inner_product import InnerProduct
from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.normalize import Normalize
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.layers.scale import Scale
from caffecompat.resumable import State
from caffecompat.schema import pb

__all__ = [
    "ConvolutionFixed",
    "DeconvolutionFixed",
    "FixedNeuron",
    "InnerProductFixed",
    "NormalizeFixed",
    "PReLUFixed",
    "ScaleFixed",
    "computes_in_fixed_point",
    "count_positions",
    "quantized_blobs",
]


def computes_in_fixed_point(net: pb.NetParameter) -> bool:
    """Whether a net has an enabled FixedNeuron, or a layer that quantizes its parameters.

    Its average poolings then compute as the DPU does.
    """
    return any(
        layer.type == "PReLUFixed" or (layer.type in _SWITCHED and layer.fixed_param.enable) for layer in net.layer
    )


_SWITCHED = (
    "ConvolutionFixed", "DeconvolutionFixed", "FixedNeuron", "InnerProductFixed", "NormalizeFixed", "ScaleFixed"
)  # fmt: skip


def count_positions(net: nn.Module) -> None:
    """Let all neurons of a net keep their most frequent positions, as iterations are counted from now on."""
    for module in net.modules():
        if isinstance(module, FixedNeuron):
            module.counts = True


def _passing_gradient(fixed: Tensor, plain: Tensor) -> Tensor:
    """`fixed`, exactly, with the gradient of `plain`."""
    return fixed + (plain - plain.detach()) if torch.is_grad_enabled() else fixed


def _check_bits(param: pb.LayerParameter) -> None:
    if not 1 <= param.fixed_param.bit_width <= 32:
        raise LayerError(f"bit_width {param.fixed_param.bit_width} is not from 1 to 32")


@register("FixedNeuron")
class FixedNeuron(Layer):
    """Puts activations of any shape on the grid; the gradient passes unchanged (Xilinx).

    Its one blob is the position. TRAIN finds the position of each batch and keeps the most frequent one so far (the
    smallest on ties); OVER_FLOW quantizes a batch at its own position, the other methods at the kept one. Outside of a
    solver or a calibration, which count their iterations, each batch's own position is kept, as the fork's layers
    then take every pass for the first one. TEST uses the kept one, floored. After a data layer (follow_data_layer)
    TRAIN rounds halves away from zero, and TEST cuts toward zero without clamping.

    Attributes:
        counts: whether a solver or a calibration counts the iterations.
        inplace: set by the net where nobody else needs the bottom; it counts without gradients only.
    """

    position: nn.Parameter
    counts = False
    inplace: bool = False

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        _check_bits(param)
        p = param.fixed_param
        self.enabled, self.bits, self.method = bool(p.enable), p.bit_width, p.fixed_method
        self.follows_data = bool(p.follow_data_layer)
        self.add_blob("position", (1,), learned=False)
        self._seen: Counter[int] = Counter()

    def state(self) -> State:
        return {"seen": sorted(self._seen.items())}

    def restore(self, state: State) -> list[str]:
        self._seen = Counter(dict(state["seen"]))
        return []

    def forward(self, bottom: Tensor) -> Tensor:
        if not self.enabled or bottom.is_meta:
            return bottom.clone()
        value = bottom.detach()
        if self.training:
            position = self._observe(value)
        else:
            position = math.floor(self.position.item())
        if not self.follows_data:
            in_place = self.inplace and not torch.is_grad_enabled()
            fixed = activations_to_grid(value, position, self.bits, in_place=in_place)
        elif self.training:
            fixed = to_grid(value, position, self.bits)
        else:
            step = step_of(position)
            fixed = (value / step).trunc() * step
        return _passing_gradient(fixed, bottom)

    def _observe(self, value: Tensor) -> int:
        position = find_position(value, self.bits, self.method)
        self._seen[position] += 1
        often = max(self._seen.values())
        kept = min(place for place, times in self._seen.items() if times == often) if self.counts else position
        with torch.no_grad():
            self.position.fill_(kept)
        return position if self.method == pb.FixedParameter.OVER_FLOW else kept


class _FixedParameters(Layer):
    """Mixed in before a layer: it computes with its parameters on the grid, each at a position of its own.

    The blobs stay float, and the gradients are those of the plain layer at the float blobs.

    Attributes:
        always: whether it does so without `enable`.
        quantizes: whether the parameters are put on the grid at all.
    """

    precision = Precision.SINGLE
    always: ClassVar[bool] = False
    weighted: ClassVar[bool] = False  # others would be rounded again
    channel_affine: ClassVar[bool] = False

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        _check_bits(param)
        p = param.fixed_param
        self.quantizes, self.bits, self.method = self.always or bool(p.enable), p.bit_width, p.fixed_method
        if self.method == pb.FixedParameter.DIFF_A:
            raise LayerError("fixed_method DIFF_A works in FixedNeuron only; use DIFF_S")
        self._on_grid: tuple[Any, dict[str, Tensor]] | None = None

    def forward(self, *bottoms: Tensor) -> Any:
        if not self.quantizes or not self.blob_names or bottoms[0].is_meta:
            return super().forward(*bottoms)
        if not torch.is_grad_enabled():
            return self._fixed_forward(*bottoms)
        top = super().forward(*bottoms)
        return _passing_gradient(self._fixed_forward(*bottoms), top)

    @torch.no_grad()
    def _fixed_forward(self, *bottoms: Tensor) -> Any:
        plain = dict(self._parameters)
        try:
            self._parameters.update(self.fixed_blobs())
            return super().forward(*bottoms)
        finally:
            self._parameters.update(plain)

    @torch.no_grad()
    def fixed_blobs(self) -> dict[str, Any]:
        """The parameters on the grid, by name; found again when one was written."""
        now = tuple((blob.data_ptr(), blob._version) for blob in self.blobs)
        if self._on_grid is None or self._on_grid[0] != now:
            self._on_grid = now, self._put_on_grid()
        return dict(self._on_grid[1])

    def _put_on_grid(self) -> dict[str, Tensor]:
        return {
            name: to_grid(blob, find_position(blob, self.bits, self.method), self.bits)
            for name, blob in zip(self.blob_names, self.blobs, strict=True)
        }


def quantized_blobs(module: nn.Module | None) -> list[Tensor] | None:
    """The parameters that a fixed-point layer computes with, in Caffe's order; None where they are its blobs."""
    if not isinstance(module, _FixedParameters) or not module.quantizes:
        return None
    return list(module.fixed_blobs().values())


@register("ConvolutionFixed")
class ConvolutionFixed(_FixedParameters, Convolution):
    """Convolution with quantized weight and bias (Xilinx); shapes as of Convolution.

    Where all weights are 0 so are all outputs, whatever the bias: the fork multiplies by steps, which are 0 then.
    """

    def _put_on_grid(self) -> dict[str, Tensor]:
        fixed = super()._put_on_grid()
        weight, *biases = self.blob_names
        if biases and not fixed[weight].any():
            fixed[biases[0]] = torch.zeros_like(fixed[biases[0]])
        return fixed


@register("DeconvolutionFixed")
class DeconvolutionFixed(_FixedParameters, Deconvolution):
    """Deconvolution with quantized weight and bias (Xilinx); shapes as of Deconvolution."""


@register("InnerProductFixed")
class InnerProductFixed(_FixedParameters, InnerProduct):
    """InnerProduct with quantized weight and bias (Xilinx); shapes as of InnerProduct."""


@register("ScaleFixed")
class ScaleFixed(_FixedParameters, Scale):  # type: ignore[misc]  # the mixin takes any number of bottoms
    """Scale with quantized scale and bias; with two bottoms nothing is quantized (Xilinx). Shapes as of Scale."""


@register("PReLUFixed")
class PReLUFixed(_FixedParameters, PReLU):
    """PReLU with quantized slopes, `enable` or not (Xilinx); any shape, a slope a channel (axis 1)."""

    always: ClassVar[bool] = True


@register("NormalizeFixed")
class NormalizeFixed(_FixedParameters, Normalize):
    """Normalize with quantized scales (Xilinx); shapes as of Normalize."""
