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
from tests.deploy.recorded import recorded_net, recorded_types
from tests.layers.test_golden_layers import CASES, FOLDERS

EXPORTED = [path for path in CASES if all(emitter_of(kind) for kind in recorded_types(path))]


def _run(source: TorchSource, inputs: dict[str, torch.Tensor], memory_format: torch.memory_format) -> dict:
    module = types.ModuleType("made")
    module.__file__ = "made.py"
    exec(compile(source.text, "made.py", "exec", dont_inherit=True), vars(module))
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
