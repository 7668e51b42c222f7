"""BatchNorm in the three layouts that share the name, LRN and MVN."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from caffecompat.forks import Fork
from caffecompat.layers.functional.normalization import (
    local_response_norm,
    local_response_norm_within,
    mean_variance_norm,
    normalize_by_batch,
    normalize_by_batch_exactly,
)
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View
from caffecompat.layers.norm_blobs import LAYOUTS, WITH_SUMS, affine_by_statistics, arrange
from caffecompat.layers.precision import Precision
from caffecompat.layers.recomputation import is_recomputing
from caffecompat.layers.registry import register
from caffecompat.layers.synchronized import mean_of_all, normalize_by_all_batches
from caffecompat.schema import pb

if TYPE_CHECKING:
    from caffecompat.layers.scale import Scale

__all__ = ["LRN", "MVN", "BatchNorm"]

_STATISTICS = ("mean", "variance", "factor", "unused")


@register("BatchNorm")
class BatchNorm(Layer):
    """Batch normalization over all axes but 1; the blobs differ among the forks.

    ============== ========================================== =====================================
    layout         blobs                                      where
    ============== ========================================== =====================================
    bvlc           mean sum, variance sum, factor             BVLC, SSD, ENet, PSPNet
    intel affine   mean sum, variance sum, factor, scale,     Intel, where its own engines compute it
                   bias                                       and no Scale follows
    xilinx         scale, bias, mean, variance, unused        Xilinx, or where fillers say so
    nvcaffe        mean, variance, factor (1), scale, bias    NVCaffe and Jacinto; the last two only
                                                              with scale_bias or a filler
    ============== ========================================== =====================================

    Blobs are (C), and (1) for factor and unused. Xilinx' GPU build makes them (1, C, 1, 1), its CPU
    build (C), and each reads the other's files.

    bvlc: statistics are the sums divided by the factor. Each forward with batch statistics, TEST's
    too, decays the three by moving_average_fraction and adds the batch mean, the unbiased
    (m / (m - 1)) variance and 1. `use_global_stats` decides in both phases (default: TEST).
    `update_global_stats` (PSPNet) normalizes in TRAIN by the stored mean and the batch's variance
    around it. `stats_batch_size` (Intel's mkldnn_batch_norm_layer.cpp) takes the batch's statistics
    of that many samples at a time, and moves the stored ones by each.

    xilinx: TRAIN uses batch statistics whatever `use_global_stats` says, as the fork's GPU engine
    does; TEST obeys an explicit value and otherwise uses the running ones. The running statistics
    (biased variance) move by 1 - moving_average_fraction; a net that never loaded any takes those
    of its first batch. A TEST that uses batch statistics leaves loaded ones alone.

    The fork's CPU engine keeps the gradients of scale and bias of the last backward alone, where
    iter_size sums everything else; its GPU engine (cuDNN) sums them too. So do we, each on its device.

    nvcaffe: as xilinx, but the phase alone decides.

    With a `group` of processes (`train --sync-bn`) the batch is that of all of them, where TRAIN goes by it.

    Where the net says so (`followed_by`) it multiplies and adds what the Scale after it would.

    Frozen (`train --freeze-bn`), every layout uses the stored statistics, which stay as they are, and learns nothing.
    """

    precision = Precision.ROUNDED
    frees_top: ClassVar[bool] = True
    keeps_pixels: ClassVar[bool] = True
    channel_affine: ClassVar[bool] = True
    keeps_forward: ClassVar[bool] = True
    remembers = ("fresh",)
    group: dist.ProcessGroup | None = None
    followed_by: tuple[Scale, ...] = ()
    mean: nn.Parameter
    variance: nn.Parameter
    factor: nn.Parameter
    scale: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, shape = param.batch_norm_param, bottom_shapes[0]
        self.layout = _layout(param, context)
        self.decay = p.moving_average_fraction
        self.stores_sums = self.layout in WITH_SUMS
        self.eps = p.eps if self.stores_sums else max(p.eps, 1e-5)
        self.use_global_stats = p.use_global_stats if p.HasField("use_global_stats") else None
        self.update_global_stats = p.update_global_stats and self.layout == "bvlc"
        self.stats_batch_size = p.stats_batch_size
        if self.stats_batch_size and shape[0] % self.stats_batch_size:
            raise LayerError(f"stats_batch_size {self.stats_batch_size} must divide the batch, which has {shape[0]}")
        self.frozen = context.frozen_norms
        self.fresh = True
        self.channels = shape[1] if len(shape) > 1 else 1
        if self.stores_sums and any(spec.lr_mult != 0 for spec in param.param[:3]):
            raise LayerError("BatchNorm's statistics are not learned: its param entries must have lr_mult 0")
        self.register_parameter("scale", None)
        self.register_parameter("bias", None)
        fillers = {"scale": "filler" if self.layout == "intel affine" else "scale_filler", "bias": "bias_filler"}
        for name in LAYOUTS[self.layout]:
            size = 1 if name in ("factor", "unused") else self.channels
            filler = fillers.get(name, "")
            given = getattr(p, filler) if filler and p.HasField(filler) else None
            blob = self.add_blob(name, (size,), given, learned=not self.frozen and name not in _STATISTICS)
            if (name == "scale" and given is None) or (name == "factor" and not self.stores_sums):
                nn.init.ones_(blob)
            if self.layout == "xilinx" and blob.requires_grad:
                _keep_last_gradient(blob)

    def __setstate__(self, state: dict[str, object]) -> None:
        """A copy's parameters come without the hooks of the original's."""
        super().__setstate__(state)
        if self.layout == "xilinx":
            for blob in self.blobs:
                if blob.requires_grad:
                    _keep_last_gradient(blob)

    def affine(
        self, parts: Mapping[str, np.ndarray], shape: Shape, running_statistics: bool = False
    ) -> tuple[np.ndarray, np.ndarray] | str:
        if self.uses_batch_statistics and not running_statistics:
            return "use_global_stats: false makes it normalize by the batch in TEST too"
        return affine_by_statistics(parts, self.stores_sums, self.eps)

    def weights_loaded(self) -> None:
        """Statistics came from a file (or another net): training moves them instead of starting again."""
        self.fresh = False

    def adapt_blobs(self, blobs: list[np.ndarray]) -> list[np.ndarray]:
        """Bring blobs of any of the layouts, of shape (C) or (1, C, 1, 1), into this layer's own.

        Raises:
            LayerError: the file has a scale and bias that this layer has no place for.
        """
        return arrange(blobs, self.layout, self.channels)

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """One multiply-add a value, as at deployment."""
        return math.prod(top_shapes[0])

    @property
    def uses_batch_statistics(self) -> bool:
        """Whether forward normalizes by the batch's own statistics."""
        if self.frozen:
            return False
        if self.stores_sums:
            return self.training if self.use_global_stats is None else not self.use_global_stats
        return self.training or (self.layout == "xilinx" and self.use_global_stats is False)

    def forward(self, bottom: Tensor) -> Tensor:
        if bottom.dim() == 1:
            return self.forward(bottom[:, None])[:, 0]
        if self.uses_batch_statistics:
            if self.stats_batch_size:
                return torch.cat([self._normalize_by_batch(part) for part in bottom.split(self.stats_batch_size)])
            return self._normalize_by_batch(bottom)
        mean, variance = self._running()
        if self.training and self.update_global_stats and not self.frozen:
            return self._normalize_around(bottom, mean)
        return F.batch_norm(bottom, mean, variance, *self._affine(), False, 0.0, self.eps)

    def _affine(self) -> tuple[Tensor | None, Tensor | None]:
        """What the normalized values are multiplied by, and what is added: (C) each, or nothing."""
        layer = self.followed_by[0] if self.followed_by else self
        return layer.scale, layer.bias

    def _running(self) -> tuple[Tensor, Tensor]:
        # Detached: who sets requires_grad of all parameters, as torch users do, does not mean these.
        mean, variance = self.mean.detach(), self.variance.detach()
        if not self.stores_sums:
            return mean, variance
        stored = self.factor.detach()
        factor = torch.where(stored == 0, 0, 1 / stored)
        return mean * factor, variance * factor

    def _normalize_by_batch(self, bottom: Tensor) -> Tensor:
        count = bottom.numel() // bottom.shape[1]
        if self.group is not None and self.training and not bottom.is_meta:
            top, mean, variance = normalize_by_all_batches(bottom, *self._affine(), self.eps, self.group)
            count *= self.group.size()
        else:
            rule = normalize_by_batch if self.training else normalize_by_batch_exactly
            top, mean, variance = rule(bottom, *self._affine(), self.eps)
        self._update(mean.flatten(), variance.flatten(), count)
        return top

    def _normalize_around(self, bottom: Tensor, mean: Tensor) -> Tensor:
        axes = [axis for axis in range(bottom.dim()) if axis != 1]
        with torch.no_grad():
            variance = (bottom - mean.view(-1, *[1] * (bottom.dim() - 2))).square().mean(axes)
        count = bottom.numel() // bottom.shape[1]
        if self.group is not None and not bottom.is_meta:
            variance, count = mean_of_all(variance, self.group), count * self.group.size()
        self._update(mean, variance, count)
        return F.batch_norm(bottom, mean, variance, *self._affine(), False, 0.0, self.eps)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the stored statistics by a batch's mean and biased variance over `count` values."""
        if mean.is_meta or is_recomputing():  # shapes are being inferred, or the batch was seen before
            return
        if self.stores_sums:
            self.factor.mul_(self.decay).add_(1)
            self.mean.mul_(self.decay).add_(mean)
            self.variance.mul_(self.decay).add_(variance, alpha=count / max(count - 1, 1))
        elif self.training or self.fresh:
            step = 1.0 if self.fresh else 1 - self.decay
            self.mean.lerp_(mean, step)
            self.variance.lerp_(variance, step)
            self.fresh = False


def _keep_last_gradient(blob: nn.Parameter) -> None:
    """On the CPU let each backward replace the blob's gradient instead of adding to it."""

    def forget(_: Tensor) -> None:
        if blob.grad is not None and blob.grad.device.type == "cpu":
            blob.grad.zero_()  # autograd adds to it next; others may hold a view of it

    blob.register_hook(forget)


def _layout(param: pb.LayerParameter, context: Context) -> str:
    p = param.batch_norm_param
    if context.fork is Fork.INTEL or p.HasField("use_weight_bias"):
        if not (p.HasField("use_weight_bias") and p.use_weight_bias):
            return "bvlc"
        if not p.bias_term:
            raise LayerError("use_weight_bias with bias_term: false is not supported; let the bias be")
        return "intel affine"
    fillers = p.HasField("scale_filler") or p.HasField("bias_filler")
    if context.fork.is_nvcaffe or p.scale_bias:
        return "nvcaffe affine" if p.scale_bias or fillers else "nvcaffe"
    # BVLC has 3 blobs, so more `param` entries than that can only mean the 5-blob layer.
    return "xilinx" if context.fork is Fork.XILINX or fillers or len(param.param) > 3 else "bvlc"


@register("LRN")
class LRN(Layer):
    """Local response normalization: top = bottom x (k + alpha / n x sum of squares over a window)^-beta.

    ACROSS_CHANNELS: the window is `local_size` channels, n = local_size. WITHIN_CHANNEL: it is
    local_size x local_size pixels with zeros around the plane, n = local_size^2, and k is 1
    whatever the file says (BVLC).
    """

    precision = Precision.ROUNDED
    keeps_pixels: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.lrn_param
        if p.local_size % 2 == 0:
            raise LayerError(f"local_size must be odd, it is {p.local_size}")
        if len(bottom_shapes[0]) != 4:
            raise LayerError(f"LRN takes (N, C, H, W), the bottom is {tuple(bottom_shapes[0])}")
        self.size, self.alpha, self.beta, self.k = p.local_size, p.alpha, p.beta, p.k
        self.across = p.norm_region == pb.LRNParameter.ACROSS_CHANNELS

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """One for each square summed, and one for the product."""
        window = self.size if self.across else self.size**2
        return math.prod(top_shapes[0]) * (window + 1)

    def view(self, bottom: Shape, top: Shape) -> View:
        return View() if self.across else View((self.size, self.size))

    def forward(self, bottom: Tensor) -> Tensor:
        if self.across:
            return local_response_norm(bottom, self.size, self.alpha, self.beta, self.k)
        return local_response_norm_within(bottom, self.size, self.alpha, self.beta)


@register("MVN")
class MVN(Layer):
    """Subtract the mean and, with normalize_variance, divide by (standard deviation + eps).

    Statistics are of each (H, W) plane, or of each whole sample with across_channels; the variance
    is the biased one (BVLC).
    """

    precision = Precision.ROUNDED
    keeps_pixels: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        if len(bottom_shapes[0]) < 2:
            raise LayerError(f"MVN takes (N, C, ...), the bottom is {tuple(bottom_shapes[0])}")
        p = param.mvn_param
        self.whole_item, self.divides, self.eps = p.across_channels, p.normalize_variance, p.eps

    def view(self, bottom: Shape, top: Shape) -> View:
        return View(None)

    def forward(self, bottom: Tensor) -> Tensor:
        return mean_variance_norm(bottom, self.whole_item, self.divides, self.eps)
