"""Fixed point in ONNX: parameters stored as integers, and how far onnxruntime's integers are from the net's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from caffecompat.layers.fixed import FixedNeuron
from caffecompat.net import Net
from caffecompat.net.trace import value_names

if TYPE_CHECKING:
    from caffecompat.deploy.onnx.export import Export

__all__ = ["INT16_OPSET", "QUANTIZED_OPSET", "Agreement", "as_integers", "measure_agreement"]

QUANTIZED_OPSET = 13
"""What a model in fixed point needs at least."""
INT16_OPSET = 21
"""From where QuantizeLinear and DequantizeLinear take 16 bits."""


def as_integers(values: np.ndarray, opset: int) -> tuple[np.ndarray, int] | None:
    """A parameter on a power-of-two grid as (integers, position), values = integers 2^-position.

    int8 where that holds them, else int16 where the opset has it; None where neither does, as with floats.

    >>> as_integers(np.array([0.5, -1.25], np.float32), 13)
    (array([ 2, -5], dtype=int8), 2)
    """
    if not np.isfinite(values).all():
        return None
    used = values[values != 0].astype(np.float64)
    if not used.size:
        return np.zeros(values.shape, np.int8), 0
    mantissa, exponent = np.frexp(used)
    whole = (mantissa * 2.0**24).astype(np.int64)  # a float32 has 24 bits
    lowest = np.log2((whole & -whole).astype(np.float64)).astype(np.int64)
    position = -int((exponent - 24 + lowest).min())
    if not -126 <= position <= 126:
        return None
    integers = values.astype(np.float64) * math.ldexp(1.0, position)
    for kind in (np.int8, np.int16) if opset >= INT16_OPSET else (np.int8,):
        limits = np.iinfo(kind)
        if limits.min <= integers.min() and integers.max() <= limits.max:
            return integers.astype(kind), position
    return None


@dataclass
class Agreement:
    """The model in onnxruntime against the net, activation by activation.

    Attributes:
        integers: how many the neurons made. `differing`: of these, how many are others in the model.
        classes: how many places have scores of classes, over all outputs with such. `equal`: those with the same best.
    """

    integers: int = 0
    differing: int = 0
    classes: int = 0
    equal: int = 0

    def __str__(self) -> str:
        text = f"{self.differing / max(1, self.integers):.4%} of {self.integers:,} integers differ"
        if self.classes:
            text += f", {self.equal / self.classes:.4%} of {self.classes:,} best classes are equal"
        return text


def measure_agreement(
    export: Export, net: Net, fed: Mapping[str, np.ndarray], prepared: Mapping[str, np.ndarray]
) -> Agreement:
    """Run both and count.

    Args:
        fed: the model's inputs. `prepared`: the net's.
    """
    from caffecompat.deploy.onnx.file import complete
    from caffecompat.deploy.onnx.graph import need_onnx
    from caffecompat.deploy.onnx.run import run_model, run_net

    names = value_names(net, needed_alone=True)
    neurons = {
        layer.name: (layer.module, export.values[names[layer.top_values[0]]])
        for layer in net.layers
        if isinstance(layer.module, FixedNeuron) and layer.top_values[0] in names
    }
    model = complete(export.model, export.weights)
    present = {output.name for output in model.graph.output}
    made = {name for node in model.graph.node for name in node.output}
    for _, value in neurons.values():
        if value not in present and value in made:
            present.add(value)
            model.graph.output.append(need_onnx().helper.make_tensor_value_info(value, 1, None))
    ours: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, bottoms: Any, top: Any) -> None:
            ours[name] = top.detach().cpu().numpy().copy()

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, (module, _) in neurons.items()]
    try:
        tops = run_net(net, prepared)
    finally:
        for hook in hooks:
            hook.remove()
    found = run_model(model.SerializeToString(), fed)
    result = Agreement()
    for name, (_, value) in neurons.items():
        if value in found:
            result.integers += ours[name].size
            result.differing += int((found[value] != ours[name]).sum())
    for output in export.outputs:
        wanted, got = tops[output.blob], found[output.name]
        if wanted.ndim >= 2 and wanted.shape[1] > 1 and wanted.shape == got.shape:
            same = wanted.argmax(1) == got.argmax(1)
            result.classes, result.equal = result.classes + same.size, result.equal + int(same.sum())
    return result
