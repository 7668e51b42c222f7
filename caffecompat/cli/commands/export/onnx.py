"""Write a net as an ONNX file, and check by onnxruntime that it computes the same.

    caffecompat export onnx --model deploy.prototxt --weights net.caffemodel net.onnx
    caffecompat export onnx --model deploy.prototxt --weights net.caffemodel --mean 104,117,123 --bake-preprocessing \\
        --rgb net.onnx
    caffecompat export onnx --model deploy.prototxt --weights net.caffemodel --target tidl net.onnx

Blobs keep their names as value names (a blob that in-place layers change has the last value; earlier ones are called
blob@layer), nodes those of the layers. Shapes are static; with --batch dynamic the batch is open, and two batches are
compared. The greatest difference of each output from torch's is printed; above 1e-4 of the output's largest value it is
an error (exit 1), and no file is left, unless --target asked for a rewrite that changes numbers: such are listed with
what they change. Indices, labels and masks must be equal.
Three things are looked into before it is called an error, and reported: a choice between near equals (ArgMax,
DetectionOutput) may differ where what it is made from is within 1e-4 and torch chooses the same from onnxruntime's
values; so may masks of max pooling, and what follows is then compared with onnxruntime's masks in both; and an output
may be more than 1e-4 from torch's float32 where it is within 1e-4 of the net in float64. An error names the layer at
which the difference begins. A net that holds NaN or infinity, or computes them, is an error too, unless
--allow-nonfinite is given.

--quantized writes a net in fixed point (quantize_train_test.prototxt or deploy.prototxt of `caffecompat quantize`):
weights as int8 (int16 where they need it, from opset 21), and QuantizeLinear with DequantizeLinear at each neuron's
position, with power-of-two scales. QuantizeLinear rounds halves to even, while the DPU rounds them up; 2^-17 of a step
(of 8 bits) is added before it, and the share of integers and of best classes that still differ is printed. --exact
emits Floor and Clip instead, equal in every integer, for runtimes without these operators, too. AMD's
compiler of Caffe models takes deploy.prototxt and deploy.caffemodel, not this file.

What prepares the pictures comes from --mean, --mean-file, --scale, --std and --subtract, else from the data layer of a
train_val or the transform_param that export deploy gives an Input layer, and goes into the metadata; or into the graph
(--bake-preprocessing), a mean picture pixel by pixel.

A train_val prototxt works too: it loses data layers, losses and accuracies first, as with export deploy.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import (
    COUNT,
    INT32,
    UsageError,
    add_nonfinite_flag,
    add_switch,
    check_companions,
    weight_files,
)
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.picture_flags import (
    flags_preprocess,
    names_fitting_sizes,
    preprocess_flags,
    size_of,
    states_preprocess,
)

if TYPE_CHECKING:
    import numpy as np

    from caffecompat.deploy.onnx.emission import Note
    from caffecompat.deploy.onnx.export import ExportOptions
    from caffecompat.deploy.onnx.write import Exported
    from caffecompat.deploy.targets.check import TargetReport

HELP = "an ONNX file, verified against the net by onnxruntime"


_DYNAMIC = "dynamic"


def _batch(text: str) -> int | str:
    if text == _DYNAMIC:
        return text
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor {_DYNAMIC!r}") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} must be at least 1")
    return number


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=output("an ONNX file"), metavar="OUT.onnx", help="the file to write")
    parser.add_argument("--model", required=True, metavar="FILE", help="the net's prototxt: deploy or train_val")
    net_flags(parser)
    parser.add_argument("--weights", metavar="A,B", help="weight files; without, the net keeps its initial values")
    parser.add_argument(
        "--opset", type=INT32, default=13, metavar="N", help="of ai.onnx, 9 to 28 (13); before 13 for old runtimes"
    )
    parser.add_argument(
        "--batch", type=_batch, metavar="N", help="size of the batch, or 'dynamic': open (the prototxt's)"
    )
    parser.add_argument("--channels", type=COUNT, metavar="N", help="of pictures whose data cannot be opened (3)")
    preprocess_flags(parser)
    parser.add_argument("--mean-file", metavar="FILE", help="a mean picture (binaryproto) instead of --mean")
    add_switch(parser, "bake-preprocessing", "the graph takes pixels and prepares them itself")
    add_switch(parser, "rgb", "with --bake-preprocessing: pixels come as R, G, B")
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line, for the metadata")
    add_switch(parser, "quantized", "of a net in fixed point: integer weights, QuantizeLinear and DequantizeLinear")
    add_switch(parser, "exact", "with --quantized: round halves up as the DPU does, by Floor and Clip")
    add_switch(parser, "external-data", "weights go into OUT.onnx.data (always beyond 2 GiB)")
    add_switch(parser, "cut-detection", "stop before DetectionOutput; with --target at the heads' convolutions")
    parser.add_argument("--target", choices=("dpu", "tidl"), help="rewrite what the target cannot do")
    parser.add_argument("--target-version", metavar="V", help="of the target (default: the newest known)")
    add_switch(parser, "approx", "with --target: replace an operator it lacks (Interp) by its nearest one")
    add_switch(parser, "dpu-leaky", "with --target dpu: set the slopes of leaky ReLUs to 26/256")
    add_switch(parser, "dpu-dense", "with --target dpu: grouped convolutions as dense ones with zeros, not as slices")
    parser.add_argument("--calibration", metavar="LIST", help="with --target dpu: pictures for the quantizer")
    parser.add_argument("--calibration-count", type=COUNT, default=200, metavar="N", help="how many of them (200)")
    add_nonfinite_flag(parser)
    parser.add_argument("--image", metavar="FILE", help="compare on this picture instead of random input")


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    _check(args)
    from caffecompat.deploy.onnx.write import DifferentNumbers, export_onnx
    from caffecompat.deploy.targets.dpu.calibration import calibration_pictures

    options = _options(args)
    pictures = calibration_pictures(args.calibration, args.calibration_count) if args.calibration else []
    try:
        done = export_onnx(
            open_model(args, args.model),
            weight_files(args.weights),
            args.out,
            options,
            batch=None if args.batch == _DYNAMIC else args.batch,
            size=size_of(args),
            channels=args.channels,
            cut=args.cut_detection,
            external=args.external_data,
            allow_nonfinite=args.allow_nonfinite,
            inputs=(lambda done: _picture(args, done)) if args.image else None,
            pictures=pictures,
        )
    except DifferentNumbers as problem:
        print(problem)
        return 1
    _report(args.out, args.weights, done)
    for note in done.side_notes:
        print(note)
    for path in done.side_files:
        print(f"wrote {path}")
    _print_verdict(done)
    return 0


def _print_verdict(done: Exported) -> None:
    from caffecompat.cli.common.verdicts import numbers_verdict, print_target_verdict

    if done.target:
        print_target_verdict(done.target)
    else:
        same = all(difference.allowed for difference in done.differences)
        print(numbers_verdict([difference.relative for difference in done.differences], same=same))


def _check(args: argparse.Namespace) -> None:
    """Flags that need another one."""
    rows = (
        ("--rgb", "--bake-preprocessing", args.rgb and not args.bake_preprocessing),
        ("--dpu-leaky", "--target dpu", args.dpu_leaky and args.target != "dpu"),
        ("--dpu-dense", "--target dpu", args.dpu_dense and args.target != "dpu"),
        ("--target-version", "--target", args.target_version and not args.target),
        ("--calibration", "--target dpu", args.calibration and args.target != "dpu"),
        ("--approx", "--target", args.approx and not args.target),
        ("--exact", "--quantized", args.exact and not args.quantized),
    )
    check_companions("export onnx", rows)
    if args.mean and args.mean_file:
        raise UsageError("caffecompat export onnx: take one of --mean and --mean-file")


def _options(args: argparse.Namespace) -> ExportOptions:
    from caffecompat.deploy.onnx.export import ExportOptions
    from caffecompat.formats.mean import read_mean

    stated = args.mean_file or states_preprocess(args)
    return ExportOptions(
        opset=args.opset,
        target=args.target or "",
        version=args.target_version,
        approx=args.approx,
        dpu_leaky=args.dpu_leaky,
        dpu_dense=args.dpu_dense,
        preprocess=flags_preprocess(args) if stated else None,
        mean_picture=read_mean(args.mean_file) if args.mean_file else None,
        bake=args.bake_preprocessing,
        rgb=args.rgb,
        dynamic=args.batch == _DYNAMIC,
        quantized=args.quantized,
        exact=args.exact,
        class_names=_class_names(args.labels) if args.labels else (),
    )


def _class_names(path: str) -> tuple[str, ...]:
    from caffecompat.files import read_text

    return tuple(line.strip() for line in read_text(path, "the class names").splitlines() if line.strip())


def _picture(args: argparse.Namespace, done: Exported) -> dict[str, np.ndarray]:
    """The net's input from --image: prepared, or pixels where the graph does that."""
    import numpy as np

    from caffecompat.data.preprocess import Preprocess
    from caffecompat.deploy.onnx.pictures import is_picture, prepare
    from caffecompat.formats.picture import read_picture

    net = done.net
    shape = net.fed_shapes[net.fed[0]]
    if len(net.fed) != 1 or not is_picture(shape):
        raise UsageError("caffecompat export onnx: --image needs a net with one input of 1 or 3 channels")
    picture = read_picture(args.image, color=shape[1] == 3)
    if picture is None:
        raise UsageError(f"--image {args.image}: no such picture, or in no form that can be read")
    batch = np.repeat(Preprocess()(picture, shape[2], shape[3]), shape[0], axis=0)
    return {net.fed[0]: batch if done.options.bake else prepare(batch, done.options)}


def _report(path: str, weights: str | None, done: Exported) -> None:
    from caffecompat.deploy.targets.text import fitted
    from caffecompat.wording import few

    graph = done.export.model.graph
    print(f"wrote {path}: {len(graph.node)} nodes, {os.path.getsize(path):,} bytes")
    if done.data:
        print(f"wrote {done.data}: its weights, {os.path.getsize(done.data):,} bytes")
    for value in [*graph.input, *graph.output]:
        dims = "x".join(str(dim.dim_value or dim.dim_param) for dim in value.type.tensor_type.shape.dim)
        print(f"  {'input ' if value.name in done.export.inputs.values() else 'output'} {value.name} {dims}")
    if not weights:
        print("no --weights: these are initial values; zeros, without fillers, make the comparison empty")
    if done.missing:
        print(f"warning: {done.missing}; they stay as filled")
    print(*fitted(_note_lines(done.export.notes)), sep="\n", end="\n" if done.export.notes else "")
    print("compared with torch by onnxruntime:")
    for difference in done.differences:
        print(f"  {difference}")
    if done.agreement:
        print(f"  {done.agreement}")
    changed = list(dict.fromkeys(done.export.inexact))
    if changed and not all(difference.allowed for difference in done.differences):
        print(f"the rewrites of {few(changed)} change the numbers, as listed above")
    if done.target:
        print(*fitted(_target_lines(done.target)), sep="\n")


def _note_lines(notes: list[Note]) -> list[str]:
    """What was done; layers to which the same happened share a line, with the greatest effect."""
    from caffecompat.wording import few

    same: dict[tuple[str, bool], list[Note]] = {}
    for note in notes:
        into = note.text.startswith("folded into ")
        same.setdefault(("folded into the layer before it" if into else note.text, note.exact), []).append(note)
    lines = ["what was done:"] if notes else []
    for (text, _), alike in same.items():
        names = [note.layer for note in alike if note.layer]
        text = alike[0].text if len(alike) == 1 else text
        subject = f"{len(names)} layers ({few(names)}): " if len(names) > 1 else "".join(f"{name}: " for name in names)
        lines.append(f"  {subject}{text}")
        effect = max(alike, key=lambda note: note.worst).effect
        lines += [f"    {'at most: ' if len({note.effect for note in alike}) > 1 else ''}{effect}"] if effect else []
    return lines


def _target_lines(report: TargetReport) -> list[str]:
    """What the target makes of the file: what it does not run itself, and why."""
    from caffecompat.deploy.targets.text import document_lines, finding_lines
    from caffecompat.wording import few

    table = report.table
    listed = [layer for layer in report.layers if layer.verdict in ("cpu", "refused") or layer.judgment.replaced]
    lines = [f"checked against {table.target} {table.version}: {table.title}"]
    replaced = [layer for layer in listed if layer.judgment.replaced]
    if not listed:
        lines.append(f"  all operators of {len(report.layers)} layers are among those it runs")
    lines += [f"  {line}" for line in finding_lines(report, ("refused", "cpu"))]
    if replaced:
        lines.append(f"  replaced by the target's tools: {few([layer.name for layer in replaced])}")
        lines += [f"    {text} [{source}]" for text, source in dict.fromkeys(x.judgment.reasons[0] for x in replaced)]
    warned = [layer for layer in report.layers if layer.judgment.warned]
    return lines + document_lines(report, [*listed, *warned])
