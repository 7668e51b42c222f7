"""ONNX of Xilinx' fixed-point layers: FixedNeuron, and the layers that compute with quantized parameters."""

from __future__ import annotations

import math

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, emits
from caffecompat.deploy.onnx.layers.activation import clamp, prelu
from caffecompat.deploy.onnx.layers.convolution import convolution, deconvolution
from caffecompat.deploy.onnx.layers.inner_product import inner_product
from caffecompat.deploy.onnx.layers.normalize import normalize
from caffecompat.deploy.onnx.layers.scale import scale


@emits("FixedNeuron")
def fixed_neuron(e: Emission) -> None:
    """Rounding to steps of 2^-position, in plain arithmetic."""
    p = e.module.param.fixed_param
    if not p.enable:
        e.alias(0, e.bottoms[0])
        return
    position = math.floor(float(e.parameters["position"].reshape(-1)[0]))
    if position >= 32767:
        e.op("Mul", e.bottoms[0], e.const(0.0), to=e.tops[0])
        return
    steps = e.scaled(e.bottoms[0], math.ldexp(1.0, position), 0)
    if p.follow_data_layer:
        whole = e.op("Mul", e.op("Sign", steps), e.op("Floor", e.op("Abs", steps)))
    else:
        floor = e.op("Floor", steps)
        rest = e.op("Sub", steps, floor)
        above = e.cast(e.op("Not", e.op("Less", rest, e.const(0.5))), np.float32)
        half = 2.0 ** (p.bit_width - 1)
        whole = clamp(e, e.op("Add", floor, above), -half, half - 1, None)
    e.scaled(whole, math.ldexp(1.0, -position), 0, e.tops[0])


# The parameters that these compute with are given as the layers quantize them.
emits("ConvolutionFixed")(convolution)
emits("DeconvolutionFixed")(deconvolution)
emits("InnerProductFixed")(inner_product)
emits("ScaleFixed")(scale)
emits("PReLUFixed")(prelu)
emits("NormalizeFixed")(normalize)
