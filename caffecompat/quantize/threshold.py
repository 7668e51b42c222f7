"""What TI's `caffe threshold` does: small weights of convolutions set to zero, by one threshold a layer.

Rules of caffe-jacinto (``Net::FindAndApplyThresholdNet``): convolutions of 32 inputs or outputs, with fewer groups than
outputs, lose up to a fraction of their weights that depends on their size; 1x1 windows are thinned too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.net.sparsity import WeightLayer, count_zeros, find_weight_layers, magnitude_limits, require_finite

__all__ = ["LayerThreshold", "ThresholdSettings", "threshold_net"]


@dataclass(frozen=True)
class ThresholdSettings:
    """The flags of `caffe threshold`; the defaults are the values in TI's scripts.

    Attributes:
        fraction_low: share of zeros of layers with less than 32 inputs or less than 32 outputs.
        fraction_mid: of other layers.
        fraction_high: of those of 256 inputs and 512 outputs.
        value_max: thresholds are below this value,
        value_maxratio: and below this part of the layer's largest magnitude.
        step_factor: they are whole multiples of this part of the largest magnitude.
    """

    fraction_low: float = 0.4
    fraction_mid: float = 0.8
    fraction_high: float = 0.8
    value_max: float = 0.2
    value_maxratio: float = 0.2
    step_factor: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("fraction_low", "fraction_mid", "fraction_high"):
            if not 0 <= getattr(self, name) <= 1:
                raise CaffeCompatError(f"threshold_{name} {getattr(self, name):g}: expected a share from 0 to 1")
        for name in ("value_max", "value_maxratio"):
            if not getattr(self, name) > 0:
                raise CaffeCompatError(f"threshold_{name} {getattr(self, name):g}: expected a number above 0, as 0.2")
        if not 0 < self.step_factor < 1:
            raise CaffeCompatError(f"threshold_step_factor {self.step_factor:g}: expected a number between 0 and 1")

    def fraction(self, layer: WeightLayer) -> float | None:
        """The share of zeros of a layer; None for one that is left alone."""
        inputs, outputs = layer.inputs, layer.outputs
        if not layer.is_convolution or max(inputs, outputs) < 32 or layer.group >= outputs:
            return None
        if inputs >= 256 and outputs >= 512:
            return self.fraction_high
        return self.fraction_mid if min(inputs, outputs) >= 32 else self.fraction_low


@dataclass(frozen=True)
class LayerThreshold:
    """A convolution, and what became of it; `threshold` is None where it was left alone.

    Attributes:
        largest: its largest magnitude. `bound`: what thresholds are below.
        zeros: share of its weights.
    """

    layer: WeightLayer
    largest: float
    bound: float
    threshold: float | None
    zeros: float


@torch.no_grad()
def threshold_net(net: Net, settings: ThresholdSettings) -> list[LayerThreshold]:
    """Set the small weights of a net's convolutions to zero; one for each, in the net's order.

    Raises:
        CaffeCompatError: weights are NaN or infinite; none is changed.
    """
    layers = [layer for layer in find_weight_layers(net) if layer.is_convolution]
    require_finite(layers)
    return [_threshold(layer, settings) for layer in layers]


def _threshold(layer: WeightLayer, settings: ThresholdSettings) -> LayerThreshold:
    magnitudes = layer.weight.abs()
    largest = float(magnitudes.max())
    bound = min(settings.value_max, largest * settings.value_maxratio)
    fraction, threshold = settings.fraction(layer), None
    if fraction is not None:
        ordered = magnitudes.reshape(1, -1).sort(1).values
        limit = min(float(magnitude_limits(ordered, fraction, 1.0, math.inf)), bound)  # thresholds are below
        step = float(np.float32(largest) * np.float32(settings.step_factor))
        threshold = max(0, math.ceil(limit / step) - 1) * step if step > 0 else 0.0
        layer.weight.mul_(magnitudes > threshold)
    return LayerThreshold(layer, largest, bound, threshold, count_zeros(layer.weight) / layer.weight.numel())
