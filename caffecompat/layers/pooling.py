"""Pooling (MAX, AVE, STOCHASTIC) and SPP, which pools at several scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from caffecompat.layers.functional.pooling import (
    Window,
    average_pool,
    max_pool,
    max_pool_with_indices,
    pyramid_pool,
    pyramid_window,
    stochastic_pool,
)
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["DPU_FACTORS", "SPP", "Pooling", "precision_of"]

DPU_FACTORS: dict[tuple[int, ...], float] = {
    (3, 3): 9 * 7 / 64,
    (5, 5): 25 * 10 / 256,
    (6, 6): 36 * 7 / 256,
    (7, 7): 49 * 21 / 1024,
    (14, 14): 196 * 21 / 4096,
}
"""Window of an average pooling -> count of its values times what the DPU multiplies their sum by."""


def _pool(x: Tensor, window: Window, method: int, training: bool = False) -> Tensor:
    """Pool (N, C, H, W) by a method of PoolingParameter."""
    if method == pb.PoolingParameter.AVE:
        return average_pool(x, window)
    if method == pb.PoolingParameter.STOCHASTIC:
        return stochastic_pool(x, window, training)
    return max_pool(x, window)


def _pair(p: pb.PoolingParameter, name: str, default: int) -> tuple[int, int]:
    """(h, w) from `name` or from its `_h` and `_w` forms, which must then both be there."""
    stem = name.removesuffix("_size")
    sides = [p.HasField(f"{stem}_{side}") for side in "hw"]
    if p.HasField(name) and any(sides):
        raise LayerError(f"give {name} or {stem}_h and {stem}_w, not both")
    if any(sides):
        if not all(sides):
            raise LayerError(f"{stem}_h and {stem}_w go together, only {stem}_{'hw'[sides.index(True)]} is given")
        return getattr(p, f"{stem}_h"), getattr(p, f"{stem}_w")
    value = getattr(p, name) if p.HasField(name) else default
    return value, value


def precision_of(method: int) -> Precision:
    """Maxima are the same in 16 bits; sums are made in 32."""
    return Precision.HALF if method == pb.PoolingParameter.MAX else Precision.ROUNDED


@register("Pooling")
class Pooling(Layer):
    """MAX, AVE or STOCHASTIC pooling of (N, C, H, W).

    A second top of MAX is the mask: the position h W + w of each maximum in its input plane, as a
    float. Output sizes round up unless `round_mode: FLOOR`. `global_pooling` takes the whole plane,
    whatever its size. AVE is the plain mean in every fork, but in a net with Xilinx' fixed point it is what the DPU
    computes: the mean times `dpu_factor`, for padded windows, too.
    """

    mask_top: ClassVar[int | None] = 1
    keeps_forward: ClassVar[bool] = True
    tops: ClassVar[tuple[int, int | None]] = (1, 2)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, shape = param.pooling_param, bottom_shapes[0]
        if len(shape) != 4:
            raise LayerError(f"Pooling takes (N, C, H, W), the bottom is {tuple(shape)}")
        self.method = p.pool
        if self.top_count == 2 and self.method != pb.PoolingParameter.MAX:
            raise LayerError("only MAX pooling has a second top (the mask)")
        self.precision = precision_of(self.method)
        if self.top_count == 2:
            self.precision = Precision.SINGLE  # 16 bits hold no position beyond 256
        self.whole_plane = p.global_pooling
        kernel, stride, pad = _pair(p, "kernel_size", 0), _pair(p, "stride", 1), _pair(p, "pad", 0)
        if self.whole_plane:
            if any(kernel):
                raise LayerError("global_pooling takes the whole plane; remove the kernel size")
            if any(pad) or stride != (1, 1):
                raise LayerError("global_pooling needs pad 0 and stride 1")
        self.window = Window(kernel, stride, pad, p.round_mode == pb.PoolingParameter.CEIL)
        self.as_dpu = context.fixed_point and self.method == pb.PoolingParameter.AVE
        self._check(self._window(shape), shape)
        if self.method == pb.PoolingParameter.AVE and any(pad) and not p.avg_include_pad:
            raise LayerError(
                "avg_include_pad: false (Intel's) is not supported: AVE divides by the window with its padding, as in "
                "BVLC's Caffe; remove the pad, or the field to compute so"
            )

    def _check(self, window: Window, shape: Shape) -> None:
        if 0 in window.kernel:
            raise LayerError("kernel_size (or kernel_h and kernel_w) is missing or zero")
        if 0 in window.stride:
            raise LayerError("stride must be at least 1")
        if any(window.pad) and self.method == pb.PoolingParameter.STOCHASTIC:
            raise LayerError("only MAX and AVE pooling can have a pad")
        if any(p >= k for p, k in zip(window.pad, window.kernel, strict=True)):
            raise LayerError(f"pad {window.pad} must be less than the kernel {window.kernel}")
        if min(window.counts(shape[2:])) < 1:
            raise LayerError(f"no window of {window.kernel} fits a bottom of shape {tuple(shape)}, pad {window.pad}")

    def _window(self, shape: Sequence[int]) -> Window:
        return Window((shape[2], shape[3])) if self.whole_plane else self.window

    def view(self, bottom: Shape, top: Shape) -> View:
        if self.whole_plane or tuple(self.window.kernel) == tuple(bottom[2:]):
            return View(None, (bottom[2], bottom[3]))
        (high, wide), (down, right) = self.window.kernel, self.window.stride
        return View((high, wide), (down, right))

    def forward(self, bottom: Tensor) -> Tensor | tuple[Tensor, ...]:
        window = self._window(bottom.shape)
        if self.top_count == 2:
            top, indices = max_pool_with_indices(bottom, window)
            return top, indices.to(top.dtype)
        top = _pool(bottom, window, self.method, self.training)
        factor = self.dpu_factor(window.kernel)
        return top if factor == 1 else top * factor

    def dpu_factor(self, kernel: tuple[int, ...]) -> float:
        """What an average is multiplied by: the DPU divides by a product and a shift (vai_q_caffe, DPU_ACCURACY)."""
        return DPU_FACTORS.get(kernel, 1.0) if self.as_dpu else 1.0


@register("SPP")
class SPP(Layer):
    """Spatial pyramid pooling: level i pools (N, C, H, W) into 2^i x 2^i bins, and all bins follow each other.

    Top: (N, C x sum of 4^i), or (N, C, 1, 1) where pyramid_height is 1 (BVLC).
    """

    keeps_forward: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, shape = param.spp_param, bottom_shapes[0]
        if len(shape) != 4 or min(shape[2:]) < 1:
            raise LayerError(f"SPP takes (N, C, H, W), the bottom is {tuple(shape)}")
        if p.pyramid_height < 1:
            raise LayerError("pyramid_height is missing, it must be at least 1")
        self.levels, self.method = p.pyramid_height, p.pool
        self.precision = precision_of(self.method)
        for level in range(self.levels):
            self._window(level, shape)

    def view(self, bottom: Shape, top: Shape) -> View:
        return View(None, (bottom[2], bottom[3]))

    @staticmethod
    def _window(level: int, shape: Sequence[int]) -> Window:
        window = pyramid_window(shape[2:], 2**level)
        if any(p >= k for p, k in zip(window.pad, window.kernel, strict=True)):
            raise LayerError(f"a bottom of shape {tuple(shape)} is too small for {2**level} x {2**level} bins")
        return window

    def forward(self, bottom: Tensor) -> Tensor:
        for level in range(self.levels):
            self._window(level, bottom.shape)
        return pyramid_pool(bottom, self.levels, lambda x, window: _pool(x, window, self.method, self.training))
