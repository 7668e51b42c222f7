"""Holding an exported model against the net: both compute the same inputs, onnxruntime the one and torch the other.

The rule: no value of an output may be off by more than TOLERANCE (1e-4) of that output's largest, and indices and
labels must be equal; `caffecompat.deploy.onnx.discrepancies` says what happens where that does not hold at first sight.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from caffecompat.compare.arrays import gaps, magnitude
from caffecompat.deploy.onnx.compare import TOLERANCE, Difference
from caffecompat.deploy.onnx.discrepancies import compare_output, resolve
from caffecompat.deploy.onnx.emission import Note
from caffecompat.deploy.onnx.export import Export, ExportOptions, export_layer
from caffecompat.deploy.onnx.pictures import prepared_inputs, random_inputs
from caffecompat.deploy.onnx.run import run_model, run_net
from caffecompat.net import Net

__all__ = [
    "TOLERANCE",
    "Difference",
    "effect_of",
    "fed_values",
    "measure_notes",
    "prepared_inputs",
    "random_inputs",
    "run_model",
    "verify",
]


def verify(path: str | os.PathLike[str], export: Export, net: Net, inputs: Mapping[str, np.ndarray],
           options: ExportOptions) -> list[Difference]:  # fmt: skip
    """Run a model file and the net it was made from.

    Args:
        inputs: the net's fed blobs; with baked preprocessing, pixels in the order that the net itself wants (BGR).

    Returns:
        A Difference for each output.
    """
    fed = fed_values(export, inputs, options)
    prepared = prepared_inputs(inputs, options)
    tops = run_net(net, prepared)
    found = run_model(path, fed)
    makers = {value.blob: (net.layers[value.maker], value.slot) for value in net.graph.outputs}
    differences = [
        compare_output(output, *makers[output.blob], found[output.name], tops[output.blob]) for output in export.outputs
    ]
    if not all(difference.allowed for difference in differences) and not export.inexact:
        resolve(path, export, net, options, fed, prepared, found, differences)
    return differences


def fed_values(export: Export, inputs: Mapping[str, np.ndarray], options: ExportOptions) -> dict[str, np.ndarray]:
    """A model's inputs by name, of the net's: in R, G, B where it takes pixels so."""
    fed = {}
    for blob, name in export.inputs.items():
        swap = name != blob and options.rgb and inputs[blob].shape[1] == 3
        fed[name] = inputs[blob][:, ::-1] if swap else inputs[blob]
    return fed


def measure_notes(net: Net, options: ExportOptions, notes: list[Note], inputs: Mapping[str, np.ndarray]) -> list[str]:
    """Fill in the effect of each rewrite: its layer alone, on what really enters it, both ways.

    Returns:
        What is wrong: rewrites that should not change numbers, and do.
    """
    wanted = {note.layer for note in notes} & {layer.name for layer in net.layers}
    if not wanted:
        return []
    wrong: list[str] = []
    seen: dict[str, tuple[list[Tensor], tuple[Tensor, ...]]] = {}
    hooks = []
    for layer in net.layers:
        if layer.module is not None and layer.name in wanted:

            def keep(
                _: nn.Module, bottoms: tuple[Tensor, ...], tops: Tensor | tuple[Tensor, ...], name: str = layer.name
            ) -> None:
                seen[name] = ([b.detach().clone() for b in bottoms], tops if isinstance(tops, tuple) else (tops,))

            hooks.append(layer.module.register_forward_hook(keep))
    net.allow_inplace(False)
    try:
        run_net(net, prepared_inputs(inputs, options))
    finally:
        net.allow_inplace(True)
        for hook in hooks:
            hook.remove()
    for note in notes:
        if note.layer not in seen:
            continue
        named = next(layer for layer in net.layers if layer.name == note.layer)
        if named.module is not None and named.module.gives_detections:
            continue
        bottoms, tops = seen[note.layer]
        model, names, outputs = export_layer(net, named.index, options)
        made = run_model(model.SerializeToString(), dict(zip(names, (b.numpy() for b in bottoms), strict=True)))
        note.effect, note.worst, changed = effect_of(made[outputs[0]], tops[0].numpy())
        if changed and note.exact:
            wrong.append(f"layer {note.layer!r} rewritten: {note.effect}")
    return wrong


_OVERFLOWING = 1e30


def effect_of(found: np.ndarray, wanted: np.ndarray) -> tuple[str, float, bool]:
    """A rewrite's effect in words, its largest difference as a share of the largest value, and whether it matters."""
    if not (np.abs(wanted) < _OVERFLOWING).all():
        return "not compared: the layer's values exceed what a float holds", 0.0, False
    apart = gaps(found, wanted)
    scale = magnitude(wanted) or 1.0
    worst = float(apart.max(initial=0)) / scale
    if worst <= TOLERANCE:
        return f"numbers unchanged (largest difference {worst:.2g} of the largest value)", worst, False
    changed = apart > TOLERANCE * scale
    text = f"{changed.mean():.1%} of the values differ, by up to {worst:.2g} of the largest value"
    depth = _depth(changed) if changed.ndim == 4 else None
    within = f", all within {depth} pixel{'s' * (depth > 1)} of the border" if depth is not None else ""
    return text + within, worst, True


def _depth(changed: np.ndarray) -> int | None:
    """How deep (N, C, H, W) flags lie, in pixels from the border; None where they reach the middle."""
    rows, columns = np.nonzero(changed.any((0, 1)))
    height, width = changed.shape[2:]
    depths = np.minimum.reduce([rows, columns, height - 1 - rows, width - 1 - columns]) + 1
    deepest = int(depths.max())
    return deepest if 2 * deepest < min(height, width) else None
