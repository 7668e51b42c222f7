"""From a Net to an ONNX model: each layer by its emitter, blobs keeping their names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from caffecompat.data.preprocess import Preprocess
from caffecompat.deploy.onnx.dynamic import export_dynamic
from caffecompat.deploy.onnx.emission import Emission, Note, UnsupportedLayer, emitter_of, emitters, to_array
from caffecompat.deploy.onnx.file import complete
from caffecompat.deploy.onnx.fixed_point import QUANTIZED_OPSET
from caffecompat.deploy.onnx.free_rows import free_rows
from caffecompat.deploy.onnx.graph import OPSETS, GraphBuilder, OnnxError, Output, need_onnx
from caffecompat.deploy.onnx.message import add_metadata, assemble_model, large_initializers
from caffecompat.deploy.onnx.older import MODERN
from caffecompat.deploy.onnx.pictures import is_picture
from caffecompat.deploy.targets.graph_pass import Changes, ExportedGraph, GraphPass, run_passes
from caffecompat.deploy.targets.registry import target_passes
from caffecompat.deploy.targets.table import TargetTable, load_table
from caffecompat.net import Net, NetError
from caffecompat.net.graph import needed_layers
from caffecompat.net.layer import NetLayer, Value
from caffecompat.net.trace import computed_outputs, value_names
from caffecompat.schema import NetDocument

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Export", "ExportOptions", "export_layer", "export_net"]

import_module("caffecompat.deploy.onnx.layers")  # registers the emitters


@dataclass(frozen=True)
class ExportOptions:
    """What to write.

    Attributes:
        opset: of ai.onnx.
        target: "dpu" or "tidl": write what it takes, as the report states; "" changes nothing.
        version: of the target's table; None is the newest.
        approx: replace an operator that a target lacks by its nearest one.
        dpu_leaky: set slopes of leaky ReLUs to the DPU's 26/256.
        dpu_dense: write grouped convolutions as dense ones with zeros instead of as slices.
        preprocess: of the pictures that the net was trained on; None where that is not known.
        mean_picture: (C, H, W) subtracted instead of `preprocess.mean`, which has its channel means; in B, G, R.
        bake: put `preprocess` into the graph, so that its input are pixels.
        rgb: the pixels come as R, G, B; only with `bake`.
        class_names: for the metadata.
        dynamic: leave the batch open (a symbolic first axis of inputs and outputs).
        quantized: of a net in fixed point: weights as integers, activations through QuantizeLinear and
            DequantizeLinear at the calibrated positions.
        exact: with `quantized`, round halves up as the DPU does, in plain arithmetic instead of these.

    >>> import caffecompat
    >>> options = caffecompat.ExportOptions(opset=17, preprocess=caffecompat.Preprocess(scale=1 / 255), bake=True)
    >>> caffecompat.export_onnx("deploy.prototxt", "net.caffemodel", "net.onnx", options).options.opset
    17
    """

    opset: int = 13
    target: str = ""
    version: str | None = None
    approx: bool = False
    dpu_leaky: bool = False
    dpu_dense: bool = False
    preprocess: Preprocess | None = None
    mean_picture: np.ndarray | None = field(default=None, compare=False)
    bake: bool = False
    rgb: bool = False
    class_names: tuple[str, ...] = ()
    dynamic: bool = False
    quantized: bool = False
    exact: bool = False

    @property
    def table(self) -> TargetTable | None:
        """The target's limits; None without a target."""
        return load_table(self.target, self.version) if self.target else None


@dataclass
class Export:
    """A model and what was done to get it.

    Attributes:
        model: the onnx.ModelProto, but for `weights`.
        weights: the large initializers, by name.
        inputs: names of the graph's inputs by fed blob.
        outputs: of the graph, in order.
        notes: what else happened to layers.
        layers: the layer that each node stands for, by node name.
        values: what the net's values (see `caffecompat.net.trace.value_names`) are called in the model.
        inexact: names of the layers whose numbers are other ones now.
    """

    model: Any
    weights: dict[str, np.ndarray]
    inputs: dict[str, str]
    outputs: list[Output]
    notes: list[Note] = field(default_factory=list)
    layers: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    @property
    def inexact(self) -> list[str]:
        """Layers whose numbers were changed on purpose."""
        return [note.layer for note in self.notes if not note.exact]


def export_net(
    net: Net,
    options: ExportOptions | None = None,
    document: NetDocument | None = None,
    *,
    passes: Sequence[GraphPass] = (),
) -> Export:
    """Write a net of phase TEST as an ONNX model.

    Args:
        net: made from outside inputs; its shapes become the model's static shapes, but for an open batch.
        document: where its layers are, for errors.
        passes: over the graph, after the target's.

    Raises:
        OnnxError: the opset is not one of OPSETS, or newer than the installed onnx.
        NetError: layers have no form in ONNX; all of them are named.
    """
    options = options or ExportOptions()
    newest = min(OPSETS[1], need_onnx().defs.onnx_opset_version())
    if not OPSETS[0] <= options.opset <= newest:
        raise OnnxError(f"opset {options.opset} is not one of {OPSETS[0]} to {newest}")
    if options.rgb and not options.bake:
        raise OnnxError("R, G, B input needs the change of order in the graph: ask for --bake-preprocessing too")
    if options.dynamic and options.target:
        raise OnnxError(f"--batch dynamic: {options.target.upper()}'s tools want static shapes; give --batch N")
    if options.quantized:
        _check_quantized(net, options)
    if options.dynamic:
        return export_dynamic(net, lambda net: _Exporter(net, options, document, passes).run())
    return _Exporter(net, options, document, passes).run()


def _check_quantized(net: Net, options: ExportOptions) -> None:
    if options.target:
        raise OnnxError(f"--quantized is for onnxruntime and its like; {options.target.upper()}'s tools quantize by "
                        "themselves, or take deploy.prototxt and deploy.caffemodel")  # fmt: skip
    if options.opset < QUANTIZED_OPSET:
        raise OnnxError(f"--quantized needs opset {QUANTIZED_OPSET} or newer")
    if not any(layer.type == "FixedNeuron" for layer in net.layers):
        raise OnnxError("--quantized: the net has no FixedNeuron; give quantize_train_test.prototxt or the "
                        "deploy.prototxt that 'quantize' writes, with its weights")  # fmt: skip


def export_layer(net: Net, index: int, options: ExportOptions) -> tuple[ModelProto, list[str], list[str]]:
    """One layer of a net as a model of its own; returns it with its input and output names.

    Raises:
        UnsupportedLayer: it has no form in ONNX, or not for the target.
    """
    exporter = _Exporter(net, options, None)
    layer = net.layers[index]
    inputs = [f"bottom_{at}" for at in range(len(layer.bottom_values))]
    outputs = [f"top_{at}" for at in range(len(layer.top_values))]
    exporter.builder.reserve([*inputs, *outputs])
    exporter.emit(layer, inputs, outputs)
    for _, problem in exporter.apply_passes().refused:
        raise problem
    shapes = [net.value_shapes[value] for value in layer.known_bottoms]
    made = [net.value_shapes[value] for value in layer.top_values]
    exporter.builder.finish(inputs, outputs, [])
    return (
        complete(
            exporter.assemble(dict(zip(inputs, shapes, strict=True)), dict(zip(outputs, made, strict=True))),
            exporter.weights(),
        ),
        inputs,
        outputs,
    )


class _Exporter:
    def __init__(
        self, net: Net, options: ExportOptions, document: NetDocument | None, passes: Sequence[GraphPass] = ()
    ) -> None:
        self.net, self.options, self.document, self.passes = net, options, document, passes
        self.builder = GraphBuilder(options.opset, shares=not options.target and not options.dynamic)
        self.notes: list[Note] = []
        self.emissions: dict[str, Emission] = {}
        self.outputs: list[Output] = []
        self.free = free_rows(net)

    def run(self) -> Export:
        wanted = computed_outputs(self.net)
        if not wanted:
            raise OnnxError(f"net {self.net.name!r} computes no output")
        needed = needed_layers(self.net.layers, wanted)
        names = value_names(self.net, needed_alone=True)
        self.builder.reserve(list(names.values()))
        inputs = self._feed(needed, names)
        problems: list[tuple[NetLayer, UnsupportedLayer]] = []
        for layer in self.net.layers:
            if layer.index in needed and layer.module is not None:
                try:
                    self.emit(
                        layer, [names[value] for value in layer.known_bottoms], [names[v] for v in layer.top_values]
                    )
                except UnsupportedLayer as problem:
                    problems.append((layer, problem))
        self.outputs += [self._output(names[value], value) for value in wanted]
        changes = self.apply_passes()
        places = {layer.name or layer.type: layer for layer in self.net.layers}
        problems += [(places[name], problem) for name, problem in changes.refused]
        if problems:
            problems.sort(key=lambda found: found[0].index)
            raise NetError([self._located(layer, problem) for layer, problem in problems])
        self.notes += changes.notes
        self.notes.sort(key=lambda note: places[note.layer].index)
        plain = [value.blob or "unnamed" for value in names]
        self.builder.finish(list(inputs.values()), [output.name for output in self.outputs], plain)
        read = {name for node in self.builder.nodes for name in node.input}
        inputs = {blob: name for blob, name in inputs.items() if name in read}
        model = self.assemble(
            {name: self.net.fed_shapes[blob] for blob, name in inputs.items()},
            {output.name: output.shape for output in self.outputs},
        )
        add_metadata(model, self._metadata())
        values = {name: self.builder.final_name(name) for name in names.values()}
        if self.options.quantized:  # the shapes of its many values would be a tenth of a small net's file
            del model.graph.value_info[:]
        return Export(model, self.weights(), inputs, self.outputs, self.notes, self.builder.owners, values)

    def apply_passes(self) -> Changes:
        """Change the graph as the target, and who asked for the export, want it."""
        return run_passes(
            [*target_passes(self.options), *self.passes], ExportedGraph(self.builder, self.emissions, self.outputs)
        )

    def _located(self, layer: NetLayer, problem: UnsupportedLayer) -> str:
        where = f"{self.document.where(layer.index)}: " if self.document else ""
        return f"{where}layer {layer.name!r} ({layer.type}): {problem}{self._lowest(layer.index)}"

    def _lowest(self, index: int) -> str:
        """Which opset can, where a layer has no form in an old one; "" where none can or it is not old."""
        for opset in range(self.options.opset + 1, MODERN + 1):
            try:
                export_layer(self.net, index, replace(self.options, opset=opset))
            except (OnnxError, UnsupportedLayer):
                continue
            return f"; the lowest opset that can is {opset} (--opset {opset})"
        return ""

    def _feed(self, needed: set[int], names: Mapping[Value, str]) -> dict[str, str]:
        """The graph's inputs by fed blob; with preprocessing, the nodes between the two."""
        inputs = {}
        for value, name in names.items():
            if self.net.layers[value.maker].module is not None or value.maker not in needed:
                continue
            shape = self.net.value_shapes[value]
            baked = self.options.bake and is_picture(shape)
            inputs[value.blob] = self._bake(name, shape) if baked else name
        return inputs

    def _bake(self, blob: str, shape: tuple[int, ...]) -> str:
        """(pixels - mean) x scale / std - subtract in front of an input; returns the name of the pixels."""
        picture = self.builder.value_name(f"{blob}_pixels")
        self.builder.layer = "preprocessing"
        e = Emission(self.builder, "preprocessing", None, [picture], [blob], [shape], [shape])
        value, p = picture, self.options.preprocess or Preprocess()
        if self.options.rgb and shape[1] == 3:
            value = e.op("Gather", value, e.ints([2, 1, 0], "order"), axis=1)
        if p.mean:
            picture_mean = self.options.mean_picture
            mean = _per_channel(p.mean) if picture_mean is None else picture_mean[None]
            value = e.op("Sub", value, e.const(mean, what="mean"))
        if len(p.factors) > 1:
            value = e.op("Mul", value, e.const(_per_channel(p.factors), what="scale"))
        else:
            value = e.scaled(value, p.factors[0], 0)
        if p.subtract:
            value = e.op("Sub", value, e.const(_per_channel(p.subtract), what="subtract"))
        e.op("Identity", value, to=blob) if value == picture else self.builder.alias(blob, value)
        return picture

    def emit(self, layer: NetLayer, bottoms: list[str], tops: list[str]) -> None:
        """The nodes of one layer; its value, where all that it depends on is known."""
        if layer.module is None or self._folded(layer, bottoms, tops):
            return
        if emitter_of(layer.type) is None:
            raise emitters.refusal(layer.type, "in ONNX")
        self.builder.layer, start = layer.name or layer.type, len(self.builder.nodes)
        emission = Emission(
            builder=self.builder,
            name=layer.name or layer.type,
            module=layer.module,
            bottoms=bottoms,
            tops=tops,
            bottom_shapes=[self.net.value_shapes[value] for value in layer.known_bottoms],
            top_shapes=[self.net.value_shapes[value] for value in layer.top_values],
            free_rows=any(value in self.free for value in (*layer.bottom_values, *layer.top_values)),
            integers=self.options.quantized,
            pairs=self.options.quantized and not self.options.exact,
        )
        emission.parameters, emission.parameter_names = _parameters(layer)
        emitters.run(layer.type, emission)
        self.notes += emission.notes
        self.emissions.update({node.name: emission for node in self.builder.nodes[start:]})

    def _folded(self, layer: NetLayer, bottoms: list[str], tops: list[str]) -> bool:
        """Whether the tops were computed here: of layers that read shapes alone, and of constants."""
        known: list[np.ndarray | None] = [self.builder.known(bottom) for bottom in bottoms]
        assert layer.module is not None
        if layer.module.reads_shapes_alone:
            known = [np.zeros(self.net.value_shapes[value], np.float32) for value in layer.known_bottoms]
        if not known or any(value is None for value in known):
            return False
        with torch.no_grad():
            made = layer.module(*(torch.from_numpy(np.array(value)) for value in known))
        for top, value in zip(tops, made if isinstance(made, tuple) else (made,), strict=True):
            self.builder.constants[top] = to_array(value)
        return True

    def _output(self, name: str, value: Value) -> Output:
        module, shape = self.net.layers[value.maker].module, self.net.value_shapes[value]
        if module is not None and module.gives_detections and value.slot == 0:
            return Output(name, value.blob, (1, 1, "detections", 7))
        return Output(name, value.blob, ("regions", *shape[1:]) if value in self.free else shape)

    def assemble(
        self, inputs: Mapping[str, Sequence[int | str]], outputs: Mapping[str, Sequence[int | str]]
    ) -> ModelProto:
        """The ModelProto without `weights`, from the shapes of its inputs and outputs.

        Raises:
            OnnxError: the checker refuses it.
        """
        dtypes = {output.name: output.dtype for output in self.outputs}
        return assemble_model(self.builder, self.net.name or "net", self.options.opset, inputs, outputs, dtypes)

    def weights(self) -> dict[str, np.ndarray]:
        """The large initializers."""
        return large_initializers(self.builder)

    def _metadata(self) -> dict[str, str]:
        """What an application must do to pictures, and what the classes are called."""
        p, options = self.options.preprocess, self.options
        metadata: dict[str, str] = {"net": self.net.name}
        if p is not None and not options.bake:
            metadata |= {"mean": _text(p.mean), "scale": repr(p.scale), "subtract": _text(p.subtract)}
            if p.std:
                metadata["std"] = _text(p.std)
            if options.mean_picture is not None:
                metadata["mean_of"] = "a mean picture's channels; training subtracted the picture pixel by pixel"
        metadata["color_order"] = "RGB" if options.rgb else "BGR"
        if options.bake:
            metadata["preprocessing"] = "in the graph; the input is pixels, 0 to 255"
        if options.class_names:
            metadata["class_names"] = json.dumps(list(options.class_names), ensure_ascii=False)
        if options.target:
            metadata["target"] = options.target
        return metadata | self._detections()

    def _detections(self) -> dict[str, str]:
        """Which classes the rows of a detector are of."""
        made = {output.blob for output in self.outputs}
        for layer in self.net.layers:
            if layer.module is not None and layer.module.gives_detections and made.intersection(layer.tops):
                module: Any = layer.module
                return {"detection_classes": str(module.labels), "detection_background": str(module.background)}
        return {}


def _text(values: Sequence[float]) -> str:
    return ",".join(f"{value:.9g}" for value in values)


def _per_channel(values: Sequence[float]) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def _parameters(layer: NetLayer) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A layer's blobs by attribute name, and the initializer of each: ``layer.blob``, of the layer that owns it."""
    module = layer.module
    values = {slot.name: to_array(slot.tensor()) for slot in layer.slots}
    names = {}
    for slot in layer.slots:
        owner = slot.owner or slot
        names[slot.name] = f"{owner.module.param.name}.{owner.name}"
    if getattr(module, "quantizes", False):
        fixed: dict[str, Tensor] = module.fixed_blobs()  # type: ignore[union-attr, operator]
        values = {name: to_array(blob) for name, blob in fixed.items()}
    return values, names
