"""The whole way from a prototxt to a verified ONNX file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from caffecompat.compare.nets import DifferentNumbers, in_single_precision
from caffecompat.compare.nonfinite import watch_values
from caffecompat.deploy.batch import batched_shapes
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.deploy.onnx.emission import Note
from caffecompat.deploy.onnx.export import Export, ExportOptions, export_net
from caffecompat.deploy.onnx.file import LARGEST, file_size, write_external, write_model
from caffecompat.deploy.onnx.fixed_point import Agreement, measure_agreement
from caffecompat.deploy.onnx.graph import need_onnx
from caffecompat.deploy.onnx.pictures import prepared_inputs, random_inputs, with_preprocessing
from caffecompat.deploy.onnx.prepare import Head, cut_detection, drop_softmax, find_heads
from caffecompat.deploy.onnx.run import LAST_CHANGE, run_net, runs_opset
from caffecompat.deploy.onnx.target import judge_export, measure_statistics, net_for_target, use_stored_statistics
from caffecompat.deploy.onnx.verify import Difference, fed_values, measure_notes, verify
from caffecompat.deploy.targets.check import TargetReport
from caffecompat.deploy.targets.registry import TARGETS
from caffecompat.forks import ForkName
from caffecompat.formats.atomic import WriteError, atomic_path, protects, refuse_protected
from caffecompat.net import Net
from caffecompat.net.quantization_plan import FLOAT_NOTE, wants_quantization
from caffecompat.net.weights import WeightPaths, weight_paths
from caffecompat.python_code import looking_at_nets
from caffecompat.schema import NetDocument, NetSource, as_document, pb

__all__ = ["DifferentNumbers", "Exported", "export_onnx", "prepared_net", "write_onnx"]


_BATCHES = (1, 3)  # at which a model with an open batch is compared


@dataclass
class Exported:
    """What an export did.

    Attributes:
        export: the model and its notes.
        net: what was exported.
        differences: of each output.
        heads: of an SSD, before a cut.
        missing: what to report of layers that the weight file does not have; "" where it has all.
        data: the file with the weights, where they are outside of the model.
        target: what the target makes of each layer, where there is one.
        options: with the preprocessing found in the prototxt, where none was given.
        agreement: of a net in fixed point: how many integers and classes are the net's.
        side_files: what else was written for the target's tools.
        side_notes: what to report of these.
    """

    export: Export
    net: Net
    options: ExportOptions
    differences: list[Difference] = field(default_factory=list)
    heads: Head | None = None
    missing: str = ""
    data: str = ""
    target: TargetReport | None = None
    agreement: Agreement | None = None
    side_files: list[str] = field(default_factory=list)
    side_notes: list[str] = field(default_factory=list)


def prepared_net(
    document: NetDocument,
    weights: WeightPaths | None,
    options: ExportOptions,
    *,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    cut: bool = False,
) -> Exported:
    """The net as it will be exported: fed from outside, without losses, cut as asked; not exported yet.

    Raises:
        CaffeCompatError: it cannot be made, or the weights do not fit.
    """
    with looking_at_nets(size, channels):
        deployed = deploy_net(document, batch=batch, size=size, channels=channels)
    message, notes = deployed.message, [Note("", line) for line in deployed.notes]
    heads = find_heads(message) if cut or options.target else None
    if cut:
        notes += cut_detection(message, at_convolutions=bool(options.target))
    if options.target:
        notes += drop_softmax(message) + use_stored_statistics(message)
    made = NetDocument.from_message(message, document.path, like=document.fork_choice)
    with looking_at_nets(size, channels):
        net = Net(made, pb.TEST, log=False, quantized=False, weights=weights)
    missing = net.loaded.describe_missing(", ".join(weight_paths(weights or ()))) if net.loaded else ""
    if wants_quantization(message):
        notes.append(Note("", FLOAT_NOTE))
    if net.half_precision:
        net = in_single_precision(net)
        notes.append(Note("", "computes in 32 bits throughout, whatever forward_type says"))
    _make_names_unique(net)
    options, remarks = with_preprocessing(options, deployed, net, document.path)
    notes += remarks
    return Exported(Export(None, {}, {}, [], notes), net, options, heads=heads, missing=missing)


def _make_names_unique(net: Net) -> None:
    """Rename layers that have another's name, as layers without parameters may: the report uses names."""
    taken = {layer.name for layer in net.layers if layer.slots}
    for layer in net.layers:
        name, count = layer.name, 2
        while not layer.slots and layer.name in taken:
            layer.param.name, count = f"{name}_{count}", count + 1
        taken.add(layer.name)


@protects("model", "weights")
def export_onnx(
    model: NetSource,
    weights: WeightPaths | None,
    path: str | os.PathLike[str],
    options: ExportOptions | None = None,
    *,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    cut: bool = False,
    external: bool = False,
    allow_nonfinite: bool = False,
    inputs: Callable[[Exported], Mapping[str, np.ndarray]] | None = None,
    pictures: Sequence[str] = (),
    fork: ForkName | None = None,
) -> Exported:
    """Write a net as an ONNX file that onnxruntime computes as torch computes the net.

    Blobs keep their names; inputs and outputs are (N, C, H, W) float32 as in Caffe. For a target, the files that its
    tools want are written next to the model.

    Args:
        model: path of a deploy or train_val prototxt, or a net that was read.
        weights: a weight file, or a list of them; None leaves initial values.
        options: opset, target, preprocessing, an open batch, ...
        batch, size: the input's, instead of the prototxt's; size is (height, width) in pixels.
        channels: of pictures whose data cannot be opened (3).
        cut: leave the layer out that makes boxes of what SSD predicts.
        external: weights go into ``PATH.data`` next to the file.
        allow_nonfinite: write it though the net holds NaN or infinity, if the model has them at the same places.
        inputs: makes what to compare on, by fed blob; None is random ones.
        pictures: paths for the quantizer of a DPU.
        fork: the Caffe whose rules hold, where the text cannot show it.

    Raises:
        NonFiniteError: the net holds NaN or infinity, or computes them; no file is left.
        DifferentNumbers: an output differs by more than TOLERANCE although no rewrite explains it; no file is left.
        OnnxError: a layer has no form in ONNX.
        CaffeCompatError: a file cannot be read or written.

    >>> import caffecompat
    >>> done = caffecompat.export_onnx("deploy.prototxt", "net.caffemodel", "net.onnx")
    >>> (done.export.inputs, all(difference.allowed for difference in done.differences))
    ({'data': 'data'}, True)
    """
    need_onnx()
    document = as_document(model, fork=fork)
    done = prepared_net(
        document, weights, options or ExportOptions(), batch=batch, size=size, channels=channels, cut=cut
    )
    write_onnx(done, path, external=external, allow_nonfinite=allow_nonfinite, inputs=inputs(done) if inputs else None)
    if done.options.target:
        made = TARGETS[done.options.target].write_side_files(done, os.fspath(path), cut=cut, pictures=pictures)
        done.side_files, done.side_notes = made.paths, made.notes
    return done


@looking_at_nets()
def write_onnx(
    done: Exported,
    path: str | os.PathLike[str],
    *,
    external: bool = False,
    allow_nonfinite: bool = False,
    inputs: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Export a prepared net, with the weights that it has now, and complete `done`; see `export_onnx`."""
    notes, table = done.export.notes, done.options.table
    made = net_for_target(done.net, done.options.target) if table else None
    written = made.net if made else done.net
    export = done.export = export_net(written, done.options)
    export.notes[:0] = [*notes, *(made.notes if made else [])]
    if table:
        done.target = judge_export(written, export, table)
    given = inputs if inputs is not None else random_inputs(done.net, done.options)
    with watch_values(done.net) as values:
        run_net(done.net, prepared_inputs(given, done.options))
    values.refuse(allow_nonfinite)
    if values:
        export.notes.append(Note("", str(values)))
    if not runs_opset(done.options.opset):
        text = f"compared as opset {LAST_CHANGE}, whose nodes mean the same: onnxruntime does not take a newer one"
        export.notes.append(Note("", text))

    def check(file: str) -> None:
        done.differences = _verified(file, done, given)
        wrong = [str(difference) for difference in done.differences if not difference.allowed]
        if done.options.quantized:
            fed = fed_values(export, given, done.options)
            done.agreement = measure_agreement(export, written, fed, prepared_inputs(given, done.options))
        if wrong and export.inexact:
            wrong = _without_rewrites(done, given)
        wrong += measure_notes(written, done.options, export.notes, given)
        if made:
            wrong += made.measure(prepared_inputs(given, done.options))
            measure_statistics(done.net, export.notes, prepared_inputs(given, done.options))
        if wrong:
            raise DifferentNumbers(f"{os.fspath(path)} was not written, it computes something else: {'; '.join(wrong)}")

    done.data = _write(os.fspath(path), export, external, check)
    export.notes += made.left if made else []


def _verified(file: str, done: Exported, given: Mapping[str, np.ndarray]) -> list[Difference]:
    """Compare on the inputs; of a model with an open batch, at two batches."""
    if not done.options.dynamic:
        return verify(file, done.export, done.net, given, done.options)
    before, differences = done.net.fed_shapes, []
    try:
        for batch in _BATCHES:
            shapes = batched_shapes(done.net, batch)
            done.net.reshape(shapes)
            inputs = {blob: values[np.arange(shapes[blob][0]) % len(values)] for blob, values in given.items()}
            found = verify(file, done.export, done.net, inputs, done.options)
            for difference in found:
                difference.remark = "; ".join(part for part in (f"batch {batch}", difference.remark) if part)
            differences += found
    finally:
        done.net.reshape(before)
    return differences


def _without_rewrites(done: Exported, inputs: Mapping[str, np.ndarray]) -> list[str]:
    """What is wrong with the model as it would be without the target's rewrites, and rounding as the net does."""
    plain = replace(done.options, target="", exact=True, approx=False, dpu_leaky=False, dpu_dense=False)
    export = export_net(done.net, plain)
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "plain.onnx")
        _save(export, file)
        differences = verify(file, export, done.net, inputs, plain)
    return [str(difference) for difference in differences if not difference.allowed]


def _save(export: Export, path: str) -> None:
    with open(path, "wb") as file:
        write_model(file, export.model, export.weights)


def _write(path: str, export: Export, external: bool, check: Callable[[str], None]) -> str:
    """Write a temporary file, check it and only then rename it; returns the path of the weights' own file, if any."""
    if not external and file_size(export.model, export.weights) < LARGEST:
        with atomic_path(path) as temporary:
            _save(export, temporary)
            check(temporary)
        return ""
    folder, name = os.path.split(os.path.realpath(path))
    data = f"{name}.data"
    for file in (path, os.path.join(folder, data)):
        refuse_protected(file)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{name[:100]}.", dir=folder) as temporary:
            model = os.path.join(temporary, name)
            write_external(model, data, export.model, export.weights)
            check(model)
            os.replace(os.path.join(temporary, data), os.path.join(folder, data))
            os.replace(model, os.path.join(folder, name))
        return f"{path}.data" if not os.path.islink(path) else os.path.join(folder, data)
    except OSError as problem:
        raise WriteError(f"{path}: cannot be written: {problem.strerror or problem}") from problem
