"""Every recorded layer case, exported as torch source and computed by it on its recorded inputs."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from caffecompat.compare.nets import TOLERANCE, compare_outputs
from caffecompat.deploy.torch_source.emission import emitter_of
from caffecompat.deploy.torch_source.source import TorchSource, make_source
from caffecompat.layers import layer_class, layer_types
from tests.deploy.recorded import recorded_net, recorded_types
from tests.layers.test_golden_layers import CASES, FOLDERS

# Types that are no losses and yet mean nothing at inference: they score, or store.
NOT_EXPORTED = {
    "Accuracy",
    "DetectionEvaluate",
    "HDF5Output",
    "IOUAccuracy",
    "MatWrite",
    "LabelsequenceAccuracy",
    "SegAccuracy",
    "SegmentPixelIOU",
    "SegmentationAccuracy",
}
EXPORTED = [path for path in CASES if all(emitter_of(kind) for kind in recorded_types(path))]


def test_only_training_is_left_out() -> None:
    """Each layer type without an emitter is a loss, or is named above."""
    left = {kind for kind in layer_types() if not emitter_of(kind) and kind.isidentifier()}
    classes = {kind: layer_class(kind) for kind in left}
    own = {kind for kind, cls in classes.items() if cls is not None and cls.__module__.startswith("caffecompat.")}
    assert {kind for kind in own if not classes[kind].is_loss} == NOT_EXPORTED


def _run(source: TorchSource, inputs: dict[str, torch.Tensor], memory_format: torch.memory_format) -> dict:
    module = types.ModuleType("made")
    module.__file__ = "made.py"
    exec(compile(source.text, "made.py", "exec"), vars(module))
    nets = [thing for thing in vars(module).values() if isinstance(thing, type) and thing.__module__ == "made"]
    net = nets[-1]()
    net.load_state_dict(source.state)
    torch.manual_seed(1)
    with torch.no_grad():
        return source.tops(net.eval().to(memory_format=memory_format)(*(inputs[blob] for blob in source.inputs)))


@pytest.mark.parametrize("path", EXPORTED, ids=lambda path: f"{FOLDERS[path]}/{path.stem}")
def test_recorded_layer(path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("case of", f"recorded layers through torch source, {FOLDERS[path]}")
    _, net, given = recorded_net(path)
    inputs = {blob: torch.from_numpy(values) for blob, values in given.items()}
    theirs = _run(make_source(net), inputs, net.memory_format)
    torch.manual_seed(1)
    with torch.no_grad():
        ours = net.forward(inputs)
    assert set(theirs) == set(net.outputs)
    for blob in net.outputs:
        assert ours[blob].shape == theirs[blob].shape
    for difference in compare_outputs(net, ours, theirs):
        assert difference.relative <= TOLERANCE, difference.line()
