"""Operators that onnxruntime computes slowly on CPUs, written as several that it computes faster.

For graphs that this program computes itself; a file for others keeps the operators that say what a layer is. Measured
with onnxruntime 1.31 on one core with AVX-512: LRN of (1, 64, 56, 56) takes 5.3 ms as one node and 0.8 ms so, Softmax
over the channels of (1, 19, 512, 1024) 242 ms and 41 ms.
"""

from __future__ import annotations

import math

import numpy as np

from caffecompat.deploy.targets.graph_pass import GraphPass, Site

__all__ = ["QUICK_PASSES", "NormalizedByConvolution", "SoftmaxInParts"]

_MOST_CHANNELS = 512  # beyond, a convolution of all channels with all costs more than it saves


class NormalizedByConvolution(GraphPass):
    """LRN's sum over neighboring channels as a 1x1 convolution of the squares; its power 0.75 as two square roots."""

    operators = frozenset({"LRN"})

    def visit(self, site: Site) -> None:
        shape = site.emission.shape
        if len(shape) != 4 or shape[1] > _MOST_CHANNELS:
            return
        size, alpha = site.attribute("size"), site.attribute("alpha", 1e-4)
        beta, bias = site.attribute("beta", 0.75), site.attribute("bias", 1.0)
        bottom, channels = site.node.input[0], shape[1]
        apart = np.subtract.outer(np.arange(channels), np.arange(channels))
        window = (np.abs(apart) <= (size - 1) // 2) * np.float32(alpha / size)
        e = site.replace()
        squares = e.op("Mul", bottom, bottom)
        weight = e.const(window[:, :, None, None], what="window")
        base = e.op("Conv", squares, weight, e.const(np.full(channels, bias), what="bias"))
        if beta == 0.75:
            root = e.op("Sqrt", base)
            power = e.op("Mul", root, e.op("Sqrt", root))
        else:
            power = e.op("Pow", base, e.const(beta, what="power"))
        e.op("Div", bottom, power, to=site.node.output[0])


class SoftmaxInParts(GraphPass):
    """Softmax over an axis with others after it, for which onnxruntime transposes its bottom twice."""

    operators = frozenset({"Softmax"})

    def visit(self, site: Site) -> None:
        shape = site.emission.shape
        axis = site.attribute("axis", -1) % len(shape)
        if site.opset < 13 or math.prod(shape[axis + 1 :]) == 1:
            return
        bottom = site.node.input[0]
        e = site.replace()
        exponents = e.op("Exp", e.op("Sub", bottom, e.reduce("ReduceMax", bottom, [axis])))
        e.op("Div", exponents, e.reduce("ReduceSum", exponents, [axis]), to=site.node.output[0])


QUICK_PASSES: tuple[GraphPass, ...] = (NormalizedByConvolution(), SoftmaxInParts())
