"""What goes over an axis: means, softmax, the index of the maximum."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.targets.graph_pass import GraphPass, Site

__all__ = ["FirstOfEquals", "LastAxisSoftmax", "MeanAsProduct"]

_SOFTMAX_OF_ONE_AXIS = 13  # from this opset on


class MeanAsProduct(GraphPass):
    """A mean over a larger plane than TIDL's GlobalAveragePool takes becomes a product with a vector."""

    operators = frozenset({"GlobalAveragePool"})

    def __init__(self, most: int) -> None:
        self.most = most

    def visit(self, site: Site) -> None:
        value, output = site.node.input[0], site.node.output[0]
        shape = site.shape(value)
        if shape is None or shape[2] * shape[3] <= self.most:
            return
        n, c, h, w = shape
        e = site.replace()
        flat = e.reshape(value, (n, c, h * w))
        sums = e.op("MatMul", flat, e.const(np.full((h * w, 1), 1 / (h * w)), what="mean"))
        e.reshape(sums, (n, c, 1, 1), output)
        site.note(f"a mean over {h} x {w} became a MatMul: TIDL's GlobalAveragePool takes at most {self.most} values")


class LastAxisSoftmax(GraphPass):
    """TIDL has Softmax along the width, and of (N, C, H, W) along the height: other axes are put last."""

    operators = frozenset({"Softmax"})

    def visit(self, site: Site) -> None:
        value, output = site.node.input[0], site.node.output[0]
        shape = site.shape(value)
        if shape is None or site.opset < _SOFTMAX_OF_ONE_AXIS:
            return
        rank = len(shape)
        axis = site.attribute("axis", -1) % rank
        if axis == rank - 1 or (axis, rank) == (2, 4):
            return
        order = [*range(axis), *range(axis + 1, rank), axis]
        e = site.replace()
        turned = e.op("Softmax", e.op("Transpose", value, perm=order), axis=rank - 1)
        e.op("Transpose", turned, to=output, perm=[order.index(at) for at in range(rank)])
        site.note(
            f"softmax along axis {axis} of {rank} is put between two transposes: TIDL has it along width and height"
        )


class FirstOfEquals(GraphPass):
    """TIDL's ArgMax takes the first of equal values."""

    operators = frozenset({"ArgMax"})

    def visit(self, site: Site) -> None:
        if site.attribute("select_last_index", 0):
            site.set_attribute("select_last_index", 0)
            site.note("of equal scores TIDL's ArgMax takes the first, Caffe's the last", exact=False)
