"""List a net's layers with shapes, parameters and multiply-accumulates, and its totals.

    caffecompat summary deploy.prototxt
    caffecompat summary train_val.prototxt --phase TRAIN
    caffecompat summary deploy.prototxt --size 1024x512 --weights net.caffemodel --json
    caffecompat summary espnet --size 1024x512

No data is needed: a data layer whose data cannot be opened gets the shapes that the prototxt gives (crop, new size),
and a line says so. --size sets the input's size, of data layers too. A Python layer whose code is not here is passed
over, with a note. Of a solver, MODEL is the net that it holds or names. Where there is no file of that name, MODEL is a
network of the zoo as published, its deploy net ('caffecompat new --list').

MACs are those of one input, as published tables count them: the products of convolutions, deconvolutions, inner
products and recurrent layers, padding included, additions of biases not. What works value by value (BatchNorm, Scale,
Bias, LRN, Interp) and pooling is not in the total; the first are listed below it. With --weights the effective MACs
are shown, too: those whose weight is not 0.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import COUNT, UsageError, add_switch, weight_files
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.picture_flags import names_fitting_sizes, size_of

if TYPE_CHECKING:
    from caffecompat.net.summary import LayerSummary, NetSummary

HELP = "layers, shapes, parameters, MACs and memory of a net"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NETWORK|MODEL",
                        help="a net's prototxt, deploy or train_val, or a network of the zoo")  # fmt: skip
    parser.add_argument("--weights", metavar="FILE", help="also load these, and show what fits and how much is zero")
    parser.add_argument("--phase", default="TEST", metavar="PHASE", help="TRAIN or TEST (default)")
    net_flags(parser)
    parser.add_argument("--size", metavar="WxH", help="input size instead of the prototxt's, as in 1024x512")
    parser.add_argument("--channels", type=COUNT, metavar="N", help="of pictures whose data layer cannot be opened (3)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    add_switch(
        parser, "skip-mismatched", "leave layers whose shapes differ from the weight file at their initial values"
    )
    add_switch(parser, "strict", "unknown fields in the prototxt are errors")


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    if args.phase.upper() not in ("TRAIN", "TEST"):
        raise UsageError(f"caffecompat summary: --phase {args.phase}: expected TRAIN or TEST")

    from caffecompat.cli.common.net_table import layer_table, mega, total_lines
    from caffecompat.report.net_summary import summarize

    summary = summarize(
        open_model(args, args.model, strict=args.strict, networks=True),
        args.phase,
        weights=weight_files(args.weights),
        size=size_of(args),
        channels=args.channels,
        skip_mismatched=args.skip_mismatched,
    )
    report, notes = summary.loaded.lines() if summary.loaded else [], summary.notes
    if args.json:
        print(json.dumps({**_as_json(summary, bool(args.weights)), "notes": notes, "weights": report}, indent=1))
        return 0
    for line in [*layer_table(summary, zeros=bool(args.weights)), "", *total_lines(summary)]:
        print(line)
    if args.weights:
        share = summary.zeros / max(1, summary.parameters)
        print(f"weights      {'; '.join(report)}; {share:.1%} of the parameters are 0")
        print(f"effective    {mega(summary.effective_macs)} M MACs whose weight is not 0")
    for note in notes:
        print(f"note         {note}")
    return 0


def _as_json(summary: NetSummary, zeros: bool) -> dict[str, object]:
    return {
        "name": summary.name,
        "phase": "TRAIN" if summary.phase == 0 else "TEST",
        "batch": summary.batch,
        "inputs": dict(summary.inputs),
        "outputs": dict(summary.outputs),
        "parameters": summary.parameters,
        "trained": summary.trained,
        "macs": summary.macs,
        **({"effective_macs": summary.effective_macs} if zeros else {}),
        "macs_value_by_value": summary.elementwise,
        "macs_by_type": summary.macs_by_type,
        "memory_bytes": {
            "parameters": 4 * summary.parameters, "blobs": 4 * summary.activations, "peak": 4 * summary.peak
        },
        "layers": [_layer(layer, zeros) for layer in summary.layers],
    }  # fmt: skip


def _layer(layer: LayerSummary, zeros: bool) -> dict[str, object]:
    field = layer.field
    return {
        "name": layer.name,
        "type": layer.type,
        "bottoms": [{"blob": blob, "shape": shape} for blob, shape in layer.bottoms],
        "tops": [{"blob": blob, "shape": shape} for blob, shape in layer.tops],
        "blobs": layer.blobs,
        "parameters": layer.parameters,
        "shared_parameters": layer.shared,
        "trained": layer.trained,
        **({"zeros": layer.zeros} if zeros else {}),
        "macs_of_the_batch": layer.macs,
        **({"effective_macs_of_the_batch": layer.effective_macs} if zeros else {}),
        "receptive_field": field and field.size,
        "stride": field and field.stride,
    }
