"""Which weights of a net can be thinned, where zeros are counted, and which weights a threshold sets to zero.

Layers and fractions follow caffe-jacinto 0.17, which thins convolutions only. A threshold belongs to a whole layer
(caffe-jacinto's ``FindAndApplyThresholdNet``) or to each output channel (``FindAndApplyChannelThresholdNet``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat.errors import CaffeCompatError
from caffecompat.layers.convolution import Convolution, Deconvolution
from caffecompat.layers.inner_product import InnerProduct
from caffecompat.layers.softmax import Softmax
from caffecompat.layers.softmax_loss import SoftmaxWithLoss
from caffecompat.net.net import Net

__all__ = [
    "WeightLayer", "count_zeros", "find_weight_layers", "magnitude_limits", "require_finite", "smallest_to_zero",
]  # fmt: skip

_MANY = 32  # inputs or outputs of a layer that is large enough to be thinned


@dataclass(frozen=True)
class WeightLayer:
    """A layer that multiplies its input by weights.

    Attributes:
        weight: of a Convolution (C_out, C_in / group, kh, kw), a Deconvolution (C_in, C_out / group, kh, kw), an
            InnerProduct (N_out, N_in), transposed (N_in, N_out).
        group: of a convolution; 1 for others.
        label: what Jacinto's log calls the weight: the layer, and the name or the place of the blob.
        counts: whether caffe-jacinto counts its zeros: in a Convolution that no softmax follows directly.
        transposed: an InnerProduct with ``transpose: true``.
    """

    name: str
    type: str
    weight: nn.Parameter
    group: int
    label: str
    counts: bool
    transposed: bool = False

    @property
    def is_convolution(self) -> bool:
        return self.type in ("Convolution", "ConvolutionFixed")

    @property
    def inputs(self) -> int:
        """Input channels of a convolution, as Jacinto's rules count them."""
        return int(self.weight.shape[1]) * self.group

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[0])

    @property
    def small_kernel(self) -> bool:
        return min(self.weight.shape[2:]) <= 2

    def fraction(self, factor: float) -> float | None:
        """The share of small weights that caffe-jacinto 0.17 removes at `factor`; None for layers it never thins.

        It thins convolutions with windows of 3 pixels or more and fewer groups than outputs that have 32 inputs or
        outputs, by half of `factor` where only one of both is 32 or more.
        """
        grouped = self.group == 0 or self.group >= self.outputs
        few = self.inputs < _MANY and self.outputs < _MANY
        if not self.is_convolution or self.small_kernel or grouped or few:
            return None
        return factor if self.inputs >= _MANY and self.outputs >= _MANY else factor / 2

    def by_output(self, values: Tensor) -> Tensor:
        """Such weights with a row for each output: (outputs, weights of one)."""
        if self.type.startswith("Deconvolution"):
            parts: Tensor = values.unflatten(0, (max(1, self.group), -1)).transpose(1, 2)
            return parts.flatten(0, 1).flatten(1)
        return values.t() if self.transposed else values.flatten(1)

    def from_output(self, rows: Tensor) -> Tensor:
        """The inverse of `by_output`: rows of values in the shape of the weight."""
        shape = self.weight.shape
        if self.type.startswith("Deconvolution"):
            groups = max(1, self.group)
            parts = rows.reshape(groups, shape[1], shape[0] // groups, *shape[2:])
            return parts.transpose(1, 2).reshape(shape)
        return rows.t() if self.transposed else rows.reshape(shape)


def find_weight_layers(net: Net) -> list[WeightLayer]:
    """The convolutions, deconvolutions and inner products of a net, in its order."""
    readers = Counter(value for layer in net.layers for value in layer.known_bottoms)
    found = []
    for at, layer in enumerate(net.layers):
        module = layer.module
        if not isinstance(module, Convolution | Deconvolution | InnerProduct):
            continue
        following = net.layers[at + 1].module if at + 1 < len(net.layers) else None
        split = any(readers[value] > 1 for value in layer.top_values)  # Caffe's Split would be the next layer
        softmax = isinstance(following, Softmax | SoftmaxWithLoss) and not split
        name = layer.param.param[0].name if layer.param.param else ""
        is_product = isinstance(module, InnerProduct)
        found.append(
            WeightLayer(
                layer.name, layer.type, module.blobs[0], 1 if is_product else layer.param.convolution_param.group,
                f"{layer.name}_param_{name or 0}", isinstance(module, Convolution) and not softmax,
                is_product and layer.param.inner_product_param.transpose,
            )
        )  # fmt: skip
    return found


def require_finite(layers: Iterable[WeightLayer]) -> None:
    """Make sure that magnitudes can be compared.

    Raises:
        CaffeCompatError: weights are NaN or infinite.
    """
    for layer in layers:
        unknown = count_zeros(layer.weight.isfinite())
        if unknown:
            raise CaffeCompatError(
                f"layer {layer.name}: {unknown} of {layer.weight.numel()} weights are NaN or infinite, which no "
                "threshold fits; take weights from before the training diverged"
            )


def smallest_to_zero(
    rows: Tensor, fraction: float, max_ratio: float = float("inf"), max_value: float = float("inf")
) -> Tensor:
    """Which weights stay when the smallest magnitudes of each row are removed: True stays.

    The threshold of a row is the largest one under which at most `fraction` of its weights lie and which is below both
    `max_value` and `max_ratio` times the row's largest magnitude.

    Args:
        rows: (R, weights of one threshold): a row for each output, or one of a whole layer.
    """
    magnitudes = rows.detach().abs()
    return magnitudes >= magnitude_limits(magnitudes.sort(1).values, fraction, max_ratio, max_value)[:, None]


def magnitude_limits(ordered: Tensor, fraction: float, max_ratio: float, max_value: float) -> Tensor:
    """The magnitude below which weights are removed, of each row of ascending magnitudes: (R)."""
    count = ordered.shape[1]
    shares = np.arange(count + 1, dtype=np.float32) / np.float32(count)
    allowed = max(0, int(np.searchsorted(shares, np.float32(fraction), side="right")) - 1)
    limits = (ordered[:, -1] * max_ratio).clamp(max=max_value)
    limits = torch.where(ordered[:, -1] > 0, limits, 0)  # inf times 0
    if allowed < count:
        limits = torch.minimum(limits, ordered[:, allowed])
    return limits


def count_zeros(tensor: Tensor) -> int:
    """How many values are 0; of a mask, False."""
    return tensor.numel() - int(torch.count_nonzero(tensor))
