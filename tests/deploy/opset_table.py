"""docs/onnx-opsets.md, made from what the emitters write for the recorded layer cases at each opset.

python -m tests.deploy.opset_table    # writes it again
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from caffecompat.deploy.onnx.emission import emitter_of, emitters
from caffecompat.deploy.onnx.export import ExportOptions, export_net
from caffecompat.deploy.onnx.older import FORMS, MODERN
from caffecompat.layers import layer_class, layer_types
from caffecompat.net import NetError
from tests.deploy.flow_nets import FLOW_NETS
from tests.deploy.recorded import recorded_net, recorded_types
from tests.deploy.region_nets import REGION_NETS
from tests.layers.test_golden_layers import CASES
from tests.net.nets import make_net

PAGE = Path(__file__).resolve().parents[2] / "docs" / "onnx-opsets.md"
OPSETS = (13, 12, 11, 10, 9)

_PLANE = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 dim: 3 dim: 5 } } }\n'
_VOLUME = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 3 dim: 5 dim: 5 } } }\n'
UNRECORDED = {  # types without a recorded case, or whose cases do not show all operators
    "AutoCrop": 'layer { name: "x" type: "Input" top: "x" top: "y" input_param {\n'
    "shape { dim: 1 dim: 2 dim: 4 dim: 4 } shape { dim: 1 dim: 2 dim: 2 dim: 2 } } }\n"
    'layer { name: "c" type: "Crop" bottom: "x" bottom: "y" top: "c" crop_param { offset: 1 } }\n'
    'layer { name: "a" type: "AutoCrop" bottom: "x" bottom: "c" top: "a" }',
    **{
        kind: f'{_PLANE}layer {{ name: "l" type: "{kind}" bottom: "x" top: "y" {settings} }}'
        for kind, settings in (
            ("DropPath", "drop_path_param { drop_prob: 0.3 }"),
            ("Flip", ""),
            ("GELU", ""),
            ("HSwish", ""),
            ("HardSigmoid", ""),
            ("HardSwish", ""),
            ("Mish", ""),
            ("Reverse", "reverse_param { axis: 1 }"),
            ("SiLU", ""),
            ("ShuffleChannel", "shuffle_channel_param { group: 2 }"),
        )
    },
    "Pooling3D": f'{_VOLUME}layer {{ name: "p" type: "Pooling3D" bottom: "x" top: "p" pooling_param {{\n'
    "kernel_size: 2 kernel_depth: 2 stride: 2 temporal_stride: 2 } }",
    "Transpose": 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
    'layer { name: "t" type: "Transpose" bottom: "x" top: "t" transpose_param { dim: 1 dim: 0 } }',
    "LSTMUnit": 'layer { name: "x" type: "Input" top: "c" top: "g" top: "t" input_param {\n'
    "shape { dim: 1 dim: 2 dim: 3 } shape { dim: 1 dim: 2 dim: 12 } shape { dim: 1 dim: 2 } } }\n"
    'layer { name: "u" type: "LSTMUnit" bottom: "c" bottom: "g" bottom: "t" top: "d" top: "h" }',
    "Pooling": 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }\n'
    'layer { name: "p" type: "Pooling" bottom: "x" top: "p" top: "m" pooling_param { kernel_size: 2 stride: 2 } }',
    **{kind: REGION_NETS[kind][0] for kind in REGION_NETS if " " not in kind},
    "Proposal": REGION_NETS["Proposal of PVANet"][0],
    **{kind: FLOW_NETS[kind][0] for kind in FLOW_NETS if " " not in kind},
}
_NONE = "none: "
_NO_NODES = ("ContinuationIndicator", "Parameter", "Silence", "Split")

_INTRODUCTION = """# Layer types by ONNX opset

`caffecompat export onnx --opset N` writes opsets 9 to 28; 13 is the default. Opsets 9 to 12 are for old runtimes: the
file then also has the IR version of its opset (4 to 7), which such runtimes ask for. From 13 on all opsets share one
column: where an operator's form changed later (ReduceMean's axes, 18) the export follows.

This page is made by `python -m tests.deploy.opset_table` from what is written for the recorded layer cases; a test
holds it in step. All of these cases are computed by onnxruntime at opsets 9 to 13 with the same numbers as Caffe's.

## Operators with another form before opset 13

The number is the opset that brought the form which newer files have.

| Operator | since | before |
|---|---|---|
"""
_OTHERS = """
What needs a layer's shape is said by other operators: Softmax along one axis (before 13 it goes over all axes that
follow: two Transposes), the last of equals in ArgMax (before 12 it takes the first: the values are read backwards),
Resize (before 11 it knows no modes of coordinates: products with the weights of linear interpolation, or Gather),
NonMaxSuppression (before 10 there is none: a Scan over the candidates, for at most 2^26 pairs of them), ScatterND and
GatherND (before 11: Scatter and Gather through rows), Slice by computed places (before 10: Gather).

## Layer types

With `--batch dynamic` the first axis of inputs and outputs is open, at every opset. Layers that fix the batch are
named: RNN, LSTM and LSTMUnit (the axis is their steps), BatchReindex, ROIPooling and PSROIPooling (whose rows number
its items), Proposal, DetectionOutput where a Scan is written for it (opset 9, or eta; `--cut-detection` leaves it out),
and whatever mixes items: sums, choices and probabilities over the first axis, a Permute of it, a Reshape or Slice of it
to fixed sizes.

"same": the operators of the first column in that opset's forms; else what comes in addition (+) or goes (-).

| Layer type | 13 and later | 12 | 11 | 10 | 9 |
|---|---|---|---|---|---|
"""
_MISSING = """
## Layer types without a form in ONNX

At no opset. Losses and data layers go when a deploy net is made of a train_val.

| Layer type | why |
|---|---|
"""


def page() -> str:
    """The page's text."""
    used: dict[str, dict[int, set[str]]] = defaultdict(lambda: {opset: set() for opset in OPSETS})
    for path in CASES:
        kinds = recorded_types(path) - {"PriorBox"}
        if len(kinds) == 1 and emitter_of(next(iter(kinds))):
            document, net, _ = recorded_net(path)
            for opset in OPSETS:
                used[next(iter(kinds))][opset] |= _operators(export_net(net, ExportOptions(opset=opset), document))
    for kind, text in UNRECORDED.items():
        for opset in OPSETS:
            try:
                used[kind][opset] |= _operators(export_net(make_net(text), ExportOptions(opset=opset)))
            except NetError as problem:
                reason = str(problem).split("): ", 1)[1].split(";")[0]
                used[kind][opset].add(f"{_NONE}{reason}")
    forms = [f"| {name} | {since} | {words} |" for name, (since, _, words) in sorted(FORMS.items()) if since <= MODERN]
    rows = [_row(kind, used[kind]) for kind in sorted(used)]
    rows += [f"| {kind} | none: its values are others' | same | same | same | same |" for kind in _NO_NODES]
    rows.sort(key=str.lower)
    missing = [f"| {kind} | {emitters.reason(kind)} |" for kind in sorted(layer_types()) if _is_missing(kind)]
    return "\n".join([_INTRODUCTION + "\n".join(forms), _OTHERS + "\n".join(rows), _MISSING + "\n".join(missing), ""])


def _operators(export: object) -> set[str]:
    return {node.op_type for node in export.model.graph.node} - {"Identity"}  # type: ignore[attr-defined]


def _row(kind: str, used: dict[int, set[str]]) -> str:
    cells = [", ".join(sorted(used[OPSETS[0]])) or "none: the value passes"]
    for opset in OPSETS[1:]:
        reasons = sorted(word for word in used[opset] if word.startswith(_NONE))
        if reasons:
            cells.append("; ".join(reasons))
            continue
        more, less = sorted(used[opset] - used[OPSETS[0]]), sorted(used[OPSETS[0]] - used[opset])
        cells.append(" ".join([*(f"+{name}" for name in more), *(f"-{name}" for name in less)]) or "same")
    return f"| {kind} | {' | '.join(cells)} |"


def _is_missing(kind: str) -> bool:
    cls = layer_class(kind)
    return cls is not None and cls.__module__.startswith("caffecompat.") and not emitter_of(kind)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
