"""PriorBox: the boxes that an SSD's detection heads begin with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from caffecompat.layers.functional.prior_box import prior_boxes
from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["PriorBox"]


@register("PriorBox")
class PriorBox(Layer):
    """The default boxes of a feature map's cells (SSD, Jacinto and Xilinx alike).

    Bottoms: feature map (N, C, H, W), picture. Top (1, 2, H * W * B * 4): corners in units of the picture, and the
    variance of each coordinate. Cells go row by row; in each, for each min_size: a square of it, a square of
    sqrt(min_size max_size) where max_size is given, and a box min_size sqrt(r) x min_size / sqrt(r) for each aspect
    ratio r other than 1, with flip also for 1 / r. min_size and max_size lose their fractions, as in the original.
    """

    detection_head: ClassVar[bool] = True
    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)
    reads_shapes_alone: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.prior_box_param
        for name, shape in zip(param.bottom, bottom_shapes, strict=True):
            if len(shape) != 4:
                raise LayerError(f"{name!r} of shape {tuple(shape)} has no height and width")
        self.sizes = _sizes(p)
        self.variances = _variances(p)
        self.image = _pair(p, "img_size", "img_h", "img_w")
        self.step = _pair(p, "step", "step_h", "step_w")
        self.offset, self.clips = p.offset, p.clip
        self._made: dict[tuple[int, ...], Tensor] = {}

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    def forward(self, features: Tensor, picture: Tensor) -> Tensor:
        cells = (features.shape[2], features.shape[3])
        if features.is_meta:
            return features.new_empty((1, 2, cells[0] * cells[1] * len(self.sizes) * 4))
        key = (*cells, *picture.shape[2:])
        made = self._made.get(key)
        if made is None or made.device != features.device:
            made = prior_boxes(
                features, picture, self.sizes, self.variances,
                step=self.step, image=self.image, offset=self.offset, clip=self.clips,
            )  # fmt: skip
            if not torch.compiler.is_compiling():
                self._made = {key: made}
        return made.clone()


def _sizes(p: pb.PriorBoxParameter) -> list[tuple[float, float]]:
    """Width and height in pixels of each box of a cell."""
    if not p.min_size or min(p.min_size) <= 0:
        raise LayerError("prior_box_param needs min_size above 0")
    if p.max_size and len(p.max_size) != len(p.min_size):
        raise LayerError(f"{len(p.min_size)} min_size but {len(p.max_size)} max_size; give none or one each")
    for small, large in zip(p.min_size, p.max_size, strict=False):
        if large <= small:
            raise LayerError(f"max_size {large:g} must be greater than its min_size {small:g}")
    ratios: list[float] = []
    for ratio in p.aspect_ratio:
        if ratio <= 0:
            raise LayerError(f"aspect_ratio {ratio:g} must be positive")
        if all(abs(ratio - known) >= 1e-6 for known in [1.0, *ratios]):
            ratios += [ratio, 1 / ratio] if p.flip else [ratio]
    made: list[tuple[float, float]] = []
    for index, given in enumerate(p.min_size):
        small = int(given)
        made.append((small, small))
        if p.max_size:
            side = math.sqrt(small * int(p.max_size[index]))
            made.append((side, side))
        made += [(small * math.sqrt(ratio), small / math.sqrt(ratio)) for ratio in ratios]
    return made


def _variances(p: pb.PriorBoxParameter) -> list[float]:
    given = list(p.variance) or [0.1]
    if len(given) not in (1, 4) or min(given) <= 0:
        raise LayerError(f"variance takes one or four positive values, not {given}")
    return given


def _pair(p: pb.PriorBoxParameter, both: str, height: str, width: str) -> tuple[float, float] | None:
    """(height, width) from a field for both or one each; None where nothing is said."""
    apart = p.HasField(height) or p.HasField(width)
    if apart and p.HasField(both):
        raise LayerError(f"give either {both}, or {height} and {width}")
    if not apart and not p.HasField(both):
        return None
    pair = (getattr(p, height), getattr(p, width)) if apart else (getattr(p, both),) * 2
    if min(pair) <= 0:
        names = f"{height} and {width}" if apart else both
        raise LayerError(f"{names} must be above 0")
    return pair
