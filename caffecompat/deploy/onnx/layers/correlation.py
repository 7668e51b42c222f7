"""ONNX of FlowNet's correlations."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("Correlation", "Correlation1D")
def correlation(e: Emission) -> None:
    """For each row of displacements the products of whole rows (MatMul), of which Gather takes the displaced ones."""
    m, rules = e.module, e.module.rules
    (rows, columns), kernel, step = rules.displacements, rules.kernel, rules.stride if rules.kernel == 1 else 1
    least, most = min(columns), max(columns)
    outside = max(0, -(rules.margin[1] + least))
    counts = [
        (size + 2 * pad - 2 * margin - kernel) // rules.stride * rules.stride + kernel
        for size, pad, margin in zip(e.shape[2:], m.pad, rules.margin, strict=True)
    ]
    first, second = (_padded(e, value, m.pad, more) for value, more in zip(e.bottoms, (0, outside), strict=True))
    height, width = (-(-count // step) for count in counts)
    own = _pick(e, _pick(e, first, rules.margin[0], height, step, 2), rules.margin[1], width, step, 3)
    places = np.arange(width)[:, None] * step + np.array(columns) - least
    span = counts[1] + most - least
    second = _pick(e, second, outside + rules.margin[1] + least, span, 1, 3)
    if m.subtract:
        own = e.op("Unsqueeze", own, e.ints([4], "axes"))
    else:
        share = e.const(1 / e.shape[1], what="share")
        own = e.op("Transpose", e.op("Mul", own, share), perm=[0, 2, 3, 1])
    maps = []
    for row in rows:
        other = _pick(e, second, rules.margin[0] + row, height, step, 2)
        if m.subtract:
            displaced = e.op("Gather", other, e.ints(places, "places"), axis=3)
            made = e.reduce("ReduceMean", e.op("Abs", e.op("Sub", own, displaced)), [1], keep=False)
        else:
            products = e.op("MatMul", own, e.op("Transpose", other, perm=[0, 2, 1, 3]))
            products = e.reshape(products, (e.shape[0], height, width * span))
            flat = places + np.arange(width)[:, None] * span
            made = e.op("Gather", products, e.ints(flat, "places"), axis=2)
        maps.append(e.op("Transpose", made, perm=[0, 3, 1, 2]))
    top = e.op("Concat", *maps, axis=1) if len(maps) > 1 else maps[0]
    if kernel == 1:
        e.alias(0, top)
    else:
        e.op("AveragePool", top, to=e.tops[0], kernel_shape=[kernel] * 2, strides=[rules.stride] * 2)


def _padded(e: Emission, value: str, pad: tuple[int, int], outside: int) -> str:
    if not any((*pad, outside)):
        return value
    return e.pad(value, [0, 0, pad[0], pad[1] + outside], [0, 0, *pad], 0)


def _pick(e: Emission, value: str, start: int, count: int, step: int, axis: int) -> str:
    """`count` rows or columns from `start` on."""
    if step == 1:
        return e.slice(value, [start], [start + count], [axis])
    return e.op("Gather", value, e.ints(start + step * np.arange(count), "places"), axis=axis)
