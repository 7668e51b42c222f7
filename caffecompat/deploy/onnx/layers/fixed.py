"""ONNX of Xilinx' fixed-point layers: FixedNeuron, and the layers that compute with quantized parameters."""

from __future__ import annotations

import math

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, Note, emits
from caffecompat.deploy.onnx.fixed_point import INT16_OPSET
from caffecompat.deploy.onnx.layers.activation import clamp, prelu
from caffecompat.deploy.onnx.layers.convolution import convolution, deconvolution
from caffecompat.deploy.onnx.layers.inner_product import inner_product
from caffecompat.deploy.onnx.layers.normalize import normalize
from caffecompat.deploy.onnx.layers.scale import scale

_ROUNDING = (
    "QuantizeLinear rounds halves to even; a small fraction of a step is added before it, so that they are rounded up "
    "as the fork does; --exact does without"
)


@emits("FixedNeuron")
def fixed_neuron(e: Emission) -> None:
    """Rounding to steps of 2^-position, in plain arithmetic or as QuantizeLinear and DequantizeLinear."""
    p = e.module.param.fixed_param
    if not p.enable:
        e.alias(0, e.bottoms[0])
        return
    position = math.floor(float(e.parameters["position"].reshape(-1)[0]))
    if position >= 32767:
        e.op("Mul", e.bottoms[0], e.const(0.0), to=e.tops[0])
        return
    step, half = math.ldexp(1.0, -position), 2 ** (p.bit_width - 1)
    widest = 16 if e.builder.opset >= INT16_OPSET else 8
    pairs = e.pairs and p.bit_width <= widest
    if e.pairs and not pairs:
        more = f"; opset {INT16_OPSET} has pairs up to 16 bits" if p.bit_width <= 16 else ""
        e.notes.append(Note(e.name, f"in {p.bit_width} bits: plain arithmetic{more}"))
    if p.follow_data_layer:
        steps = e.scaled(e.bottoms[0], 1 / step, 0)
        whole = e.op("Mul", e.op("Sign", steps), e.op("Floor", e.op("Abs", steps)))
        e.scaled(whole, step, 0, e.tops[0])
        if pairs:
            e.notes.append(Note(e.name, "plain arithmetic, as inputs are cut toward zero and do not saturate"))
    elif pairs:
        nudge = e.power_of_two(p.bit_width - 25 - position)  # as little as a float32 of the largest value takes up
        _pair(e, e.brief("Add", "up", e.bottoms[0], nudge), position, p.bit_width)
        e.notes.append(Note(e.name, _ROUNDING, exact=False))
    else:
        steps = e.scaled(e.bottoms[0], 1 / step, 0)
        floor = e.op("Floor", steps)
        above = e.cast(e.op("Not", e.op("Less", e.op("Sub", steps, floor), e.const(0.5))), np.float32)
        e.scaled(clamp(e, e.op("Add", floor, above), -half, half - 1, None), step, 0, e.tops[0])


def _pair(e: Emission, value: str, position: int, bits: int) -> None:
    """Through integers of 8 or 16 bits and back; of fewer bits, cut to their limits before.

    From opset 21 on all are of 16 bits: there onnxruntime (1.31) refuses the int8 pairs that it moves past a pooling.
    """
    kind = np.int8 if e.builder.opset < INT16_OPSET else np.int16
    if bits != np.iinfo(kind).bits:
        step, half = math.ldexp(1.0, -position), 2 ** (bits - 1)
        value = clamp(e, value, -half * step, (half - 1) * step, None)
    scale, zero = e.power_of_two(-position), e.builder.constant(np.asarray(0, kind), "0")
    e.op("DequantizeLinear", e.brief("QuantizeLinear", "int", value, scale, zero), scale, zero, to=e.tops[0])


# The parameters that these compute with are given as the layers quantize them.
emits("ConvolutionFixed")(convolution)
emits("DeconvolutionFixed")(deconvolution)
emits("InnerProductFixed")(inner_product)
emits("ScaleFixed")(scale)
emits("PReLUFixed")(prelu)
emits("NormalizeFixed")(normalize)
