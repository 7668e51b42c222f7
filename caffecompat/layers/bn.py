"""BN: the affine batch normalizations of the ENet/SegNet and of the PSPNet forks, which share the type string."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from caffecompat.layers.functional.normalization import normalize_by_batch
from caffecompat.layers.functional.scale import affine
from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.norm_blobs import affine_by_statistics, arrange, statistics
from caffecompat.layers.precision import Precision
from caffecompat.layers.recomputation import is_recomputing
from caffecompat.layers.registry import register
from caffecompat.layers.synchronized import normalize_by_all_batches
from caffecompat.schema import pb

__all__ = ["BN"]

SEGNET_EPS = 1e-9


@register("BN")
class BN(Layer):
    """Batch normalization of (N, C, H, W) with a scale and a shift; all blobs are (1, C, 1, 1).

    ENet/SegNet: blobs scale, shift. `bn_mode: LEARN` (default) normalizes by the batch, in TEST too,
    with eps 1e-9; INFERENCE is scale x bottom + shift alone, as the fork's script folds it. Tops 2
    and 3 are the batch's mean and biased variance, (1, C, 1, 1).

    PSPNet: blobs slope, bias, mean, variance. TRAIN normalizes by the batch and moves the running
    statistics (biased variance) by 1 - momentum, TEST uses them. `frozen` uses them in TRAIN too and
    learns nothing; its variance starts at 1, otherwise at 0.

    With a `group` of processes (`train --sync-bn`) the batch is that of all of them in TRAIN.

    In both forks a missing filler is constant 0, the scale's too. A layer that names fields of one
    fork is that fork's; an empty one follows the net's fork.
    """

    precision = Precision.ROUNDED
    keeps_pixels: ClassVar[bool] = True
    channel_affine: ClassVar[bool] = True
    keeps_forward: ClassVar[bool] = True
    tops: ClassVar[tuple[int, int | None]] = (1, 3)

    group: dist.ProcessGroup | None = None
    scale: nn.Parameter
    shift: nn.Parameter
    mean: nn.Parameter
    variance: nn.Parameter

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, bottom = param.bn_param, bottom_shapes[0]
        if len(bottom) != 4:
            raise LayerError(f"BN takes (N, C, H, W), the bottom is {tuple(bottom)}")
        shape = (1, bottom[1], 1, 1)
        self.keeps_statistics = _is_pspnet(p, context)
        if self.keeps_statistics:
            if self.top_count > 1:
                raise LayerError("PSPNet's BN has one top; the batch's mean and variance are tops of ENet's")
            self.frozen, self.momentum, self.eps = p.frozen or context.frozen_norms, p.momentum, p.eps
            self.add_blob("scale", shape, p.slope_filler, learned=not self.frozen)
            self.add_blob("shift", shape, p.bias_filler, learned=not self.frozen)
            self.add_blob("mean", shape, learned=False)
            self.add_blob("variance", shape, learned=False)
            if p.frozen:
                nn.init.ones_(self.variance)
        else:
            self.folded = p.bn_mode == pb.BNParameter.INFERENCE
            if self.folded and self.top_count > 1:
                raise LayerError("bn_mode INFERENCE computes no statistics, so it has one top")
            if context.frozen_norms and not self.folded:
                raise LayerError(
                    "bn_mode LEARN stores no statistics that could be kept, so it cannot be frozen; bn_mode INFERENCE "
                    "with folded weights can"
                )
            self.add_blob("scale", shape, p.scale_filler, learned=not context.frozen_norms)
            self.add_blob("shift", shape, p.shift_filler, learned=not context.frozen_norms)

    @property
    def uses_batch_statistics(self) -> bool:
        """Whether it normalizes by each batch, in TEST too."""
        return not self.keeps_statistics and not self.folded

    def affine(
        self, parts: Mapping[str, np.ndarray], shape: Shape, running_statistics: bool = False
    ) -> tuple[np.ndarray, np.ndarray] | str:
        if self.keeps_statistics:
            return affine_by_statistics({**parts, "bias": parts["shift"]}, False, self.eps)
        if not self.folded:
            return "ENet's BN in LEARN mode normalizes by the batch and stores no statistics"
        return parts["scale"], parts["shift"]

    def adapt_blobs(self, blobs: list[np.ndarray]) -> list[np.ndarray]:
        """Take the blobs of any batch normalization that stores statistics; ENet's form has no place for these.

        Raises:
            LayerError: they would have to be folded (`bn_mode: INFERENCE`), which takes the eps of their own layer.
        """
        shape = self.scale.shape
        if self.keeps_statistics:
            arranged = arrange(blobs, "pspnet", shape[1])
            return blobs if arranged is blobs else [blob.reshape(shape) for blob in arranged]
        parts = statistics(blobs, "pspnet", shape[1])
        if parts is None:
            return blobs
        if self.folded:
            raise LayerError(
                "the file's batch normalization has statistics, bn_mode INFERENCE is scale and shift alone; "
                "load it with bn_mode LEARN"
            )
        return [parts["scale"].reshape(shape), parts["bias"].reshape(shape)]

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """One multiply-add a value, as at deployment."""
        return math.prod(top_shapes[0])

    def forward(self, bottom: Tensor) -> Tensor | tuple[Tensor, ...]:
        if not self.keeps_statistics:
            return self._segnet(bottom)
        if self.frozen or not self.training:
            mean, variance = self.mean.detach().flatten(), self.variance.detach().flatten()
            return F.batch_norm(bottom, mean, variance, self.scale.flatten(), self.shift.flatten(), eps=self.eps)
        top, mean, variance = self._by_batch(bottom, self.eps)
        if not (mean.is_meta or is_recomputing()):  # a batch, and no inference of shapes
            with torch.no_grad():
                self.mean.lerp_(mean, 1 - self.momentum)
                self.variance.lerp_(variance, 1 - self.momentum)
        return top

    def _by_batch(self, bottom: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        """Normalized, the mean and the biased variance."""
        scale, shift = self.scale.flatten(), self.shift.flatten()
        if self.group is not None and self.training and not bottom.is_meta:
            return normalize_by_all_batches(bottom, scale, shift, eps, self.group)
        return normalize_by_batch(bottom, scale, shift, eps)

    def _segnet(self, bottom: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.folded:
            return affine(bottom, self.scale, self.shift)
        top, *statistics = self._by_batch(bottom, SEGNET_EPS)
        if self.top_count == 1:
            return top
        return (top, *statistics[: self.top_count - 1])


def _is_pspnet(p: pb.BNParameter, context: Context) -> bool:
    if any(p.HasField(name) for name in ("scale_filler", "shift_filler", "bn_mode")):
        return False
    if any(p.HasField(name) for name in ("slope_filler", "bias_filler", "momentum", "eps", "frozen")):
        return True
    return context.fork.is_deeplab
