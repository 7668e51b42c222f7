"""Torch source of Xilinx' fixed-point layers: FixedNeuron, and the layers that compute with quantized parameters."""

from __future__ import annotations

import math

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits
from caffecompat.deploy.torch_source.layers.activation import prelu
from caffecompat.deploy.torch_source.layers.convolution import windowed
from caffecompat.deploy.torch_source.layers.inner_product import inner_product
from caffecompat.deploy.torch_source.layers.normalize import normalize
from caffecompat.deploy.torch_source.layers.scale import scale


@emits("FixedNeuron")
def fixed_neuron(c: LayerView) -> Emitted:
    """Values on a grid of steps of 2^-position."""
    p = c.param.fixed_param
    if not p.enable:
        return Emitted(call="{0}")
    position = math.floor(c.blobs[0].item())
    if p.follow_data_layer:
        return Emitted(call=f"({{0}} * 2.0**{position}).trunc() * 2.0**{-position}")
    return Emitted(call=f"to_grid({{0}}, {position}, {p.bit_width}, upwards=True)")


# The parameters that these compute with are given as the layers quantize them.
emits("ConvolutionFixed", "DeconvolutionFixed")(windowed)
emits("InnerProductFixed")(inner_product)
emits("ScaleFixed")(scale)
emits("PReLUFixed")(prelu)
emits("NormalizeFixed")(normalize)
