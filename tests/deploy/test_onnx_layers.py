"""Every recorded layer case, exported and computed by onnxruntime on its recorded inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from caffecompat.deploy.onnx_emission import emitter_of
from caffecompat.deploy.onnx_export import ExportOptions, export_net
from caffecompat.deploy.onnx_file import write_model
from caffecompat.deploy.onnx_verify import verify
from caffecompat.net import Net
from caffecompat.schema import NetDocument, parse_text, pb
from tests.layers.test_golden_layers import CASES, DIALECTS, FOLDERS

# Types that have no meaning at inference, or none that a file can hold.
NOT_EXPORTED = {
    "Accuracy",
    "DetectionEvaluate",
    "Filter",  # its top's shape depends on values in a way that the net cannot use either
    "SegAccuracy",
    "SegmentPixelIOU",
    "SegmentationAccuracy",
}


def _document(path: Path) -> tuple[NetDocument, dict[str, np.ndarray]]:
    with np.load(path, allow_pickle=False) as file:
        record = {name: file[name] for name in file.files}
    document = NetDocument.from_message(parse_text(str(record["prototxt"]), pb.NetParameter()))
    document.dialect = DIALECTS[FOLDERS[path]]
    return document, record


def _types(path: Path) -> set[str]:
    with np.load(path, allow_pickle=False) as file:
        message = parse_text(str(file["prototxt"]), pb.NetParameter())
    return {layer.type for layer in message.layer} - {"Input", "Silence"}


def _exportable(path: Path) -> bool:
    return all(emitter_of(kind) or kind in ("PriorBox",) for kind in _types(path))


EXPORTED = [path for path in CASES if _exportable(path)]


def test_only_training_is_left_out() -> None:
    """Each recorded type without an emitter feeds data, is a loss, or is named above."""
    from caffecompat.layers import layer_class

    left = {kind for path in CASES for kind in _types(path) if not emitter_of(kind)}
    classes = {kind: layer_class(kind) for kind in left}
    assert {kind for kind, cls in classes.items() if cls and not cls.is_loss} <= NOT_EXPORTED | {"PriorBox"}


@pytest.mark.parametrize("path", EXPORTED, ids=lambda path: f"{FOLDERS[path]}/{path.stem}")
def test_recorded_layer(path: Path, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("case of", f"recorded layers through ONNX, {FOLDERS[path]}")
    _check(path, tmp_path / "layer.onnx", ExportOptions())


@pytest.mark.parametrize("opset", [15, 18, 20, 22, 24, 26, 28])
def test_a_case_of_each_type_at_newer_opsets(
    opset: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip(f"the installed onnx knows opset {onnx.defs.onnx_opset_version()}")
    cases = {tuple(sorted(_types(path))): path for path in reversed(EXPORTED)}
    for path in cases.values():
        _check(path, tmp_path / "layer.onnx", ExportOptions(opset=opset))
    record_property("measured", f"a case of each of {len(cases)} layer types through ONNX, opset {opset}")


def _check(path: Path, file: Path, options: ExportOptions) -> None:
    """Export a recorded case and compare on its recorded inputs."""
    document, record = _document(path)
    net = Net(document, pb.TEST, log=False)
    for name, values in record.items():
        kind, _, rest = name.partition("/")
        if kind == "param":
            owner, index = rest.rsplit("/", 1)
            layer = next(layer for layer in net.layers if layer.name == owner)
            layer.slots[int(index)].tensor().copy_(torch.from_numpy(values))
            layer.module.weights_loaded()
    inputs = {name[3:]: values.astype(np.float32) for name, values in record.items() if name.startswith("in/")}
    export = export_net(net, options, document)
    with file.open("wb") as out:
        write_model(out, export.model, export.weights)
    for difference in verify(file, export, net, inputs, options):
        assert difference.allowed, f"{path.stem}, opset {options.opset}: {difference}"
