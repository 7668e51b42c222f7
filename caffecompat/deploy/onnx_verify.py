"""Holding an exported model against the net: both compute the same inputs, onnxruntime the one and torch the other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from caffecompat.deploy.onnx_emission import Note
from caffecompat.deploy.onnx_export import Export, ExportOptions, Output, export_layer
from caffecompat.deploy.onnx_graph import OnnxError, need_onnx
from caffecompat.evaluate.preprocess import Preprocess
from caffecompat.net import Net

__all__ = ["TOLERANCE", "Difference", "effect_of", "measure_notes", "prepared_inputs", "random_inputs", "run_model", "verify"]

TOLERANCE = 1e-4  # of the greatest value of an output
_CHOICES = {"ArgMax", "Threshold"}  # rounding may decide otherwise between equals
_FEW = 1e-4  # the share of an output of choices that may differ for that reason


@dataclass
class Difference:
    """How far an output is from the net's.

    Attributes:
        output: its name.
        absolute: the greatest difference.
        relative: that over the greatest magnitude of the net's output.
        differ: how many values differ by more than the tolerance, of `size`.
        allowed: whether it is still the same output.
        uncertain: how far the net in float32 is from itself in float64, where that had to be asked.
    """

    output: str
    absolute: float
    relative: float
    differ: int
    size: int
    allowed: bool
    uncertain: float | None = None

    def __str__(self) -> str:
        text = f"{self.output}: largest difference {self.absolute:.3g} ({self.relative:.3g} of the largest value)"
        text += f", {self.differ} of {self.size} values differ" if self.differ else ""
        if self.uncertain is not None:
            text += f"; rounding alone makes {self.uncertain:.3g} of torch's (from float64)"
        return text


def verify(path: str | os.PathLike[str], export: Export, net: Net, inputs: Mapping[str, np.ndarray],
           options: ExportOptions) -> list[Difference]:  # fmt: skip
    """Run a model file and the net it was made from.

    Args:
        inputs: the net's fed blobs; with baked preprocessing, pixels in the order that the net itself wants (BGR).

    Returns:
        A Difference for each output.
    """
    fed = {}
    for blob, name in export.inputs.items():
        baked = name != blob
        fed[name] = inputs[blob][:, ::-1] if baked and options.rgb and inputs[blob].shape[1] == 3 else inputs[blob]
    prepared = {
        blob: _prepared(values, options) if export.inputs.get(blob, blob) != blob else values
        for blob, values in inputs.items()
    }
    with torch.no_grad():
        tops = {blob: top.numpy() for blob, top in net.forward(prepared).items()}
    found = run_model(path, fed)
    differences = [_compare(o, found[o.name], _part(o, tops[o.blob])) for o in export.outputs]
    if not all(difference.allowed for difference in differences) and not export.inexact:
        exact = _in_double(net, prepared)
        for output, difference in zip(export.outputs, differences, strict=True):
            if not difference.allowed and exact is not None:
                wanted = _part(output, exact[output.blob])
                _judge_by_double(difference, output, found[output.name], _part(output, tops[output.blob]), wanted)
    return differences


def _in_double(net: Net, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """The net's outputs in float64, None where a layer computes in float32 only."""
    net.module.double()
    try:
        with torch.no_grad():
            made = net.module(*(torch.from_numpy(np.asarray(inputs[blob], np.float64)) for blob in net.fed))
        return {blob: top.numpy() for blob, top in made.items()}
    except RuntimeError:
        return None
    finally:
        net.module.float()


def _judge_by_double(
    difference: Difference, output: Output, found: np.ndarray, single: np.ndarray, double: np.ndarray
) -> None:
    """Allow a difference no greater than what rounding does to torch's own: some nets magnify it.

    ENet is one: 88 normalizations by the batch's statistics behind each other, and positions of maxima.
    """
    if not found.shape == single.shape == double.shape:
        return
    theirs, ours = _compare(output, found, double).relative, _compare(output, single, double).relative
    difference.uncertain = ours
    difference.allowed = ours <= 10 * TOLERANCE and theirs <= max(TOLERANCE, 4 * ours)


def prepared_inputs(inputs: Mapping[str, np.ndarray], options: ExportOptions) -> dict[str, np.ndarray]:
    """What the net itself is fed, where the model takes pixels."""
    return {blob: _prepared(v, options) if options.bake and v.ndim == 4 else v for blob, v in inputs.items()}


def _prepared(values: np.ndarray, options: ExportOptions) -> np.ndarray:
    p = options.preprocess or Preprocess()
    mean, subtract = (np.array(part or (0,), np.float32).reshape(1, -1, 1, 1) for part in (p.mean, p.subtract))
    return np.ascontiguousarray((values - mean) * np.float32(p.scale) - subtract, np.float32)


def run_model(model: str | os.PathLike[str] | bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of a model by name, computed by onnxruntime on the CPU.

    Raises:
        OnnxError: onnxruntime refuses the model, for example because it is older than the opset.
    """
    need_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "1")  # pays off after several runs only
    given = model if isinstance(model, bytes) else os.fspath(model)
    try:
        session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # its exceptions have no common base but this
        raise OnnxError(f"onnxruntime {onnxruntime.__version__} does not take the model: {problem}") from problem
    names = [output.name for output in session.get_outputs()]
    fed = {name: np.ascontiguousarray(values, np.float32) for name, values in inputs.items()}
    return dict(zip(names, session.run(names, fed), strict=True))


def _part(output: Output, blob: np.ndarray) -> np.ndarray:
    """What of the net's blob is this output's: all, or columns of its rows."""
    if output.columns is None:
        return blob
    rows = blob.reshape(-1, blob.shape[-1])
    rows = rows[rows[:, 1] >= 0]  # no row for an image where nothing was found
    part = rows[:, list(output.columns)]
    return part if len(output.columns) > 1 else part[:, 0]


def _compare(output: Output, found: np.ndarray, wanted: np.ndarray) -> Difference:
    if found.shape != wanted.shape:
        return Difference(output.name, np.inf, np.inf, wanted.size, wanted.size, False)
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.abs(found.astype(np.float64) - wanted))
    gaps[np.isnan(gaps)] = np.inf
    finite = np.abs(wanted[np.isfinite(wanted)])
    # Caffe's maximum of nothing, -FLT_MAX, is no measure of the others.
    scale = float(finite[finite < 1e38].max(initial=0))
    absolute = float(gaps.max(initial=0))
    relative = absolute / scale if scale else absolute
    differ = int((gaps > TOLERANCE * max(scale, 1e-30)).sum())
    allowed = relative <= TOLERANCE or absolute <= 1e-6
    if output.layer_type in _CHOICES:
        allowed = differ <= max(3, _FEW * wanted.size)
    return Difference(output.name, absolute, relative, differ, wanted.size, allowed)


def random_inputs(net: Net, options: ExportOptions, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs for a net's fed blobs: pixels where the preprocessing is known, else normally distributed values.

    Blobs that layers read as numbers of something (Embed, BatchReindex, the indicators of recurrent layers) are such.
    """
    rng = np.random.default_rng(seed)
    inputs: dict[str, np.ndarray] = {}
    for blob in net.fed:
        shape = net.blob_shapes[blob]
        values = rng.standard_normal(shape, np.float32)
        if options.preprocess is not None and len(shape) == 4 and shape[1] in (1, 3):
            values = rng.integers(0, 256, shape).astype(np.float32)
            values = values if options.bake else _prepared(values, options)
        inputs[blob] = _as_numbers(net, blob, rng, values)
    return inputs


def _as_numbers(net: Net, blob: str, rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    for layer in net.layers:
        if blob not in layer.bottoms:
            continue
        place = layer.bottoms.index(blob)
        if layer.type == "Embed":
            return rng.integers(0, layer.param.embed_param.input_dim, values.shape).astype(np.float32)
        if layer.type == "BatchReindex" and place == 1:
            return rng.integers(0, net.blob_shapes[layer.bottoms[0]][0], values.shape).astype(np.float32)
        if (layer.type in ("RNN", "LSTM") and place == 1) or (layer.type == "LSTMUnit" and place == 2):
            return (rng.random(values.shape) > 0.2).astype(np.float32)
    return values


def measure_notes(net: Net, options: ExportOptions, notes: list[Note], inputs: Mapping[str, np.ndarray]) -> list[str]:
    """Fill in the effect of each rewrite: its layer alone, on what really enters it, both ways.

    Returns:
        What is wrong: rewrites that should not change numbers, and do.
    """
    wanted = {note.layer for note in notes} & {layer.name for layer in net.layers}
    if not wanted:
        return []
    wrong: list[str] = []
    seen: dict[str, tuple[Any, Any]] = {}
    hooks = []
    for layer in net.layers:
        if layer.module is not None and layer.name in wanted:

            def keep(_: Any, bottoms: Any, tops: Any, name: str = layer.name) -> None:
                seen[name] = ([b.detach().clone() for b in bottoms], tops if isinstance(tops, tuple) else (tops,))

            hooks.append(layer.module.register_forward_hook(keep))
    net.allow_inplace(False)
    try:
        with torch.no_grad():
            net.forward(prepared_inputs(inputs, options))
    finally:
        net.allow_inplace(True)
        for hook in hooks:
            hook.remove()
    for note in notes:
        named = [layer for layer in net.layers if layer.name == note.layer]
        if note.layer not in seen or named[0].type == "DetectionOutput":
            continue
        bottoms, tops = seen[note.layer]
        model, names, outputs = export_layer(net, named[0].index, options)
        made = run_model(model.SerializeToString(), dict(zip(names, (b.numpy() for b in bottoms), strict=True)))
        note.effect, note.worst, changed = effect_of(made[outputs[0]], tops[0].numpy())
        if changed and note.exact:
            wrong.append(f"layer {note.layer!r} rewritten: {note.effect}")
    return wrong


def effect_of(found: np.ndarray, wanted: np.ndarray) -> tuple[str, float, bool]:
    """A rewrite's effect in words, its largest difference as a share of the largest value, and whether it matters."""
    gaps = np.abs(found - wanted)
    scale = float(np.abs(wanted).max(initial=0)) or 1.0
    worst = float(gaps.max(initial=0)) / scale
    if worst <= TOLERANCE:
        return f"numbers unchanged (largest difference {worst:.2g} of the largest value)", worst, False
    changed = gaps > TOLERANCE * scale
    text = f"{changed.mean():.1%} of the values differ, by up to {worst:.2g} of the largest value"
    depth = _depth(changed) if changed.ndim == 4 else None
    return text + (f", all within {depth} pixels of the border" if depth is not None else ""), worst, True


def _depth(changed: np.ndarray) -> int | None:
    """How deep (N, C, H, W) flags lie, in pixels from the border; None where they reach the middle."""
    rows, columns = np.nonzero(changed.any((0, 1)))
    height, width = changed.shape[2:]
    depths = np.minimum.reduce([rows, columns, height - 1 - rows, width - 1 - columns]) + 1
    deepest = int(depths.max())
    return deepest if 2 * deepest < min(height, width) else None
