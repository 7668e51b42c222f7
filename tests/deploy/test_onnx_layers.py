"""Every recorded layer case, exported and computed by onnxruntime on its recorded inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from caffecompat.deploy.onnx.emission import emitter_of
from caffecompat.deploy.onnx.export import ExportOptions, export_net
from caffecompat.deploy.onnx.file import write_model
from caffecompat.deploy.onnx.verify import verify
from caffecompat.layers import layer_class
from tests.deploy.recorded import recorded_net, recorded_types
from tests.layers.test_golden_layers import CASES, FOLDERS


def _exportable(path: Path) -> bool:
    return all(emitter_of(kind) or _is_constant(kind) for kind in recorded_types(path))


def _is_constant(kind: str) -> bool:
    cls = layer_class(kind)
    return cls is not None and cls.reads_shapes_alone


EXPORTED = [path for path in CASES if _exportable(path)]


@pytest.mark.parametrize("path", EXPORTED, ids=lambda path: f"{FOLDERS[path]}/{path.stem}")
def test_recorded_layer(path: Path, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("case of", f"recorded layers through ONNX, {FOLDERS[path]}")
    _check(path, tmp_path / "layer.onnx", ExportOptions())


@pytest.mark.parametrize("opset", [9, 10, 11, 12, 15, 18, 20, 22, 24, 26, 28])
def test_a_case_of_each_type_at_other_opsets(
    opset: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip(f"the installed onnx knows opset {onnx.defs.onnx_opset_version()}")
    cases = {tuple(sorted(recorded_types(path))): path for path in reversed(EXPORTED)}
    for path in cases.values():
        _check(path, tmp_path / "layer.onnx", ExportOptions(opset=opset))
    record_property("measured", f"a case of each of {len(cases)} layer types through ONNX, opset {opset}")


def _check(path: Path, file: Path, options: ExportOptions) -> None:
    """Export a recorded case and compare on its recorded inputs."""
    document, net, inputs = recorded_net(path)
    export = export_net(net, options, document)
    with file.open("wb") as out:
        write_model(out, export.model, export.weights)
    for difference in verify(file, export, net, inputs, options):
        assert difference.allowed, f"{path.stem}, opset {options.opset}: {difference}"
