"""The Xilinx quantizer's definition once more, in numpy and torch's functions alone, to compare whole runs with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from caffecompat.schema import pb

ALL_ZERO = 32767
DPU_AVERAGES = {3: 9 * 7 / 64, 5: 25 * 10 / 256, 6: 36 * 7 / 256, 7: 49 * 21 / 1024, 14: 196 * 21 / 4096}


def round_away(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.floor(np.abs(x.astype(np.float64)) + 0.5)


def round_up(x: np.ndarray) -> np.ndarray:
    return np.floor(x.astype(np.float64) + 0.5)


def on_grid(x: np.ndarray, position: int, bits: int, rounds: Any = round_away) -> np.ndarray:
    if position == ALL_ZERO:
        return np.zeros_like(x)
    step, half = 2.0**-position, 2 ** (bits - 1)
    return (np.clip(rounds(x.astype(np.float64) / step), -half, half - 1) * step).astype(np.float32)


def position_of(x: np.ndarray, bits: int, method: str) -> int:
    half = 2 ** (bits - 1)
    scale = max(np.float32(x.min()) / np.float32(-half - 0.5), np.float32(x.max()) / np.float32(half - 0.5))
    if scale <= 0:
        return 0 if method == "DIFF_S_SIGMOID" else ALL_ZERO
    first = math.floor(np.log2(np.float32(1) / scale))
    if method == "OVER_FLOW":
        return first
    curve = (lambda v: 1 / (1 + np.exp(-v.astype(np.float64)))) if "SIGMOID" in method else (lambda v: v)
    errors = [
        float(np.square((curve(x) - curve(on_grid(x, place, bits))).astype(np.float64)).sum())
        for place in range(first, first + (10 if "SIGMOID" in method else 5))
    ]
    return first + errors.index(min(errors))


class Simulated:
    """A quantized net of TRAIN layers, run batch by batch as the calibration does."""

    def __init__(self, layers: Sequence[pb.LayerParameter], blobs: Mapping[str, Sequence[np.ndarray]]) -> None:
        self.layers, self.weights = layers, {name: list(own) for name, own in blobs.items()}
        self.seen: dict[str, Counter[int]] = {}
        self.positions: dict[str, int] = {}

    def calibrate(self, batches: Iterable[np.ndarray], data: str = "data") -> dict[str, int]:
        for batch in batches:
            values = {data: batch}
            for layer in self.layers:
                if layer.bottom:
                    for top, made in zip(layer.top, self._run(layer, [values[b] for b in layer.bottom]), strict=False):
                        values[top] = made
        return self.positions

    def _run(self, layer: pb.LayerParameter, bottoms: list[np.ndarray]) -> Sequence[np.ndarray]:
        kind = layer.type.removesuffix("Fixed")
        own = self.weights.get(layer.name, [])
        if kind != layer.type:
            own = [on_grid(blob, place, bits) for blob, (bits, place) in zip(own, pairs_of(layer, own), strict=True)]
            if kind == "Convolution" and not own[0].any():  # multiplied by its step, 0, with its bias, as recorded
                own = [np.zeros_like(blob) for blob in own]
        x = torch.from_numpy(np.ascontiguousarray(bottoms[0]))
        if kind == "FixedNeuron":
            return [self._neuron(layer, bottoms[0])]
        if kind == "Slice":
            return [part.numpy() for part in x.chunk(len(layer.top), layer.slice_param.axis)]
        if kind in ("Concat", "Eltwise"):
            return [_COMBINED[kind](layer, bottoms)]
        return [_SINGLE[kind](layer, x, [torch.from_numpy(np.ascontiguousarray(blob)) for blob in own]).numpy()]

    def _neuron(self, layer: pb.LayerParameter, x: np.ndarray) -> np.ndarray:
        param = layer.fixed_param
        method = pb.FixedParameter.FixedMethod.Name(param.fixed_method)
        found = position_of(x, param.bit_width, method)
        counts = self.seen.setdefault(layer.name, Counter())
        counts[found] += 1
        kept = min(place for place, times in counts.items() if times == max(counts.values()))
        self.positions[layer.name] = kept
        rounds = round_away if param.follow_data_layer else round_up
        return on_grid(x, found if method == "OVER_FLOW" else kept, param.bit_width, rounds)


def pairs_of(layer: pb.LayerParameter, own: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    method = pb.FixedParameter.FixedMethod.Name(layer.fixed_param.fixed_method)
    bits = layer.fixed_param.bit_width
    return [(bits, position_of(np.asarray(blob), bits, method)) for blob in own]


def _convolve(layer: pb.LayerParameter, x: torch.Tensor, own: list[torch.Tensor]) -> torch.Tensor:
    p = layer.convolution_param
    stride, pad, dilation = (p.stride or [1])[0], (p.pad or [0])[0], (p.dilation or [1])[0]
    bias = own[1] if len(own) > 1 else None
    if layer.type.startswith("De"):
        return F.conv_transpose2d(x, own[0], bias, stride, pad, groups=p.group, dilation=dilation)
    return F.conv2d(x, own[0], bias, stride, pad, dilation, p.group)


def _product(layer: pb.LayerParameter, x: torch.Tensor, own: list[torch.Tensor]) -> torch.Tensor:
    return F.linear(x.flatten(1), own[0], own[1] if len(own) > 1 else None)


def _scale(layer: pb.LayerParameter, x: torch.Tensor, own: list[torch.Tensor]) -> torch.Tensor:
    shape = (1, -1, *[1] * (x.dim() - 2))
    y = x * own[0].reshape(shape)
    return y + own[1].reshape(shape) if len(own) > 1 else y


def _pool(layer: pb.LayerParameter, x: torch.Tensor, own: list[torch.Tensor]) -> torch.Tensor:
    p = layer.pooling_param
    size = x.shape[2] if p.global_pooling else p.kernel_size
    if p.pool == pb.PoolingParameter.MAX:
        return F.max_pool2d(x, size, p.stride, p.pad, ceil_mode=True)
    factor = np.float32(DPU_AVERAGES.get(size, 1.0))
    height, width = x.shape[2:]
    rows, columns = (-(-(extent + 2 * p.pad - size) // p.stride) + 1 for extent in (height, width))
    top = torch.empty((*x.shape[:2], rows, columns))
    for row in range(rows):
        for column in range(columns):
            y0, x0 = row * p.stride - p.pad, column * p.stride - p.pad
            y1, x1 = min(y0 + size, height + p.pad), min(x0 + size, width + p.pad)
            window = x[:, :, max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
            top[:, :, row, column] = window.sum((2, 3)) / ((y1 - y0) * (x1 - x0)) * factor
    return top


def _reshape(layer: pb.LayerParameter, x: torch.Tensor, own: list[torch.Tensor]) -> torch.Tensor:
    return x.reshape([size or x.shape[axis] for axis, size in enumerate(layer.reshape_param.shape.dim)])


def _softmax(layer: pb.LayerParameter, x: torch.Tensor, own: list[torch.Tensor]) -> torch.Tensor:
    return x.softmax(1)


_SINGLE: dict[str, Any] = {
    "Convolution": _convolve, "Deconvolution": _convolve, "InnerProduct": _product, "Scale": _scale, "Pooling": _pool,
    "Reshape": _reshape, "Softmax": _softmax,
    "ReLU": lambda layer, x, own: F.leaky_relu(x, layer.relu_param.negative_slope),
    "ReLU6": lambda layer, x, own: x.clamp(0, 6),
    "PReLU": lambda layer, x, own: F.prelu(x, own[0].reshape(-1)),
    "Sigmoid": lambda layer, x, own: x.sigmoid(),
    "Flatten": lambda layer, x, own: x.flatten(1),
    "Permute": lambda layer, x, own: x.permute(*layer.permute_param.order).contiguous(),
}  # fmt: skip


def _combine(layer: pb.LayerParameter, bottoms: list[np.ndarray]) -> np.ndarray:
    p = layer.eltwise_param
    if p.operation == pb.EltwiseParameter.SUM:
        factors = list(p.coeff) or [1.0] * len(bottoms)
        return np.sum([np.float32(f) * x for f, x in zip(factors, bottoms, strict=True)], axis=0, dtype=np.float32)
    joined = np.maximum if p.operation == pb.EltwiseParameter.MAX else np.multiply
    result = bottoms[0]
    for other in bottoms[1:]:
        result = joined(result, other)
    return result


_COMBINED: dict[str, Any] = {
    "Concat": lambda layer, bottoms: np.concatenate(bottoms, layer.concat_param.axis), "Eltwise": _combine,
}  # fmt: skip


def fix_infos(
    layers: Sequence[pb.LayerParameter], blobs: Mapping[str, Sequence[np.ndarray]], positions: Mapping[str, int]
) -> dict[str, list[int]]:
    """Of each layer, the numbers that deploy.caffemodel holds, with the shifts brought into their limits."""
    at: dict[str, list[int]] = {}
    for layer in layers:
        if layer.type == "FixedNeuron":
            at.setdefault(layer.top[0], [layer.fixed_param.bit_width, positions[layer.name]])
    passing = [
        layer for layer in layers
        if layer.type in ("ReLU", "ReLU6", "Permute", "Reshape", "Flatten", "Concat", "Split")
        or (layer.type == "Pooling" and layer.pooling_param.pool == pb.PoolingParameter.MAX)
    ]  # fmt: skip
    for _ in range(len(layers)):
        for layer in passing:
            for sources, targets in ((layer.bottom, layer.top), (layer.top, layer.bottom)):
                if len(sources) == 1 and sources[0] in at:
                    for blob in targets:
                        at.setdefault(blob, list(at[sources[0]]))
    found: dict[str, list[int]] = {}
    own = {layer.name: [list(p) for p in pairs_of(layer, blobs.get(layer.name, []))]
           for layer in layers if layer.type.endswith("Fixed")}  # fmt: skip
    for layer in layers:
        if layer.type in ("ConvolutionFixed", "DeconvolutionFixed", "InnerProductFixed"):
            if len(own[layer.name]) == 1:
                own[layer.name].append([layer.fixed_param.bit_width, 0])
            (_, i), o, w, b = at[layer.bottom[0]], at[layer.top[0]], *own[layer.name]
            cut = w[1] + i - o[1]
            if cut < 0:
                at[layer.top[0]] = [o[0], o[1] + cut]
            elif cut > 16:
                w[1] -= cut - 16
            shift, limit = w[1] + i - b[1], min(0, cut - 16)
            if shift < limit and len(blobs[layer.name]) > 1:
                b[1] += shift - limit
            elif shift > 16:
                w[1] -= shift - 16
    for layer in layers:
        found[layer.name] = [number for blob in (*layer.bottom, *layer.top) for number in at.get(blob, [])]
        more = own.get(layer.name, [])
        if layer.type == "ScaleFixed" and len(more) == 1:
            more = [*more, [layer.fixed_param.bit_width, 0]]
        found[layer.name] += [number for pair in more for number in pair]
    return found
