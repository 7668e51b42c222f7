"""Every net of the forks' own repositories and tutorials builds, in each phase that has data for it.

Their data is not here: data layers get sources that tell shapes only. `test_real_prototxts_build` has BVLC's nets.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from caffecompat.data import DataError, Source
from caffecompat.data.placeholder import Placeholder, placeholder
from caffecompat.forks import Fork
from caffecompat.layers import layer
from caffecompat.layers.fillers import fill
from caffecompat.net import Net
from caffecompat.net.filter import filter_net, make_state
from caffecompat.schema import NetDocument, open_net, pb, read_solver
from caffecompat.solver.jacinto import check_schedules
from caffecompat.solver.lr_policy import check_policy
from caffecompat.solver.outputs import check_eval
from tests.net.nets import INPUT, problems_of
from tests.net.nets import layer as layer_text

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
ELSEWHERE = ("bvlc", "bvlc-legacy", "bvlc-pr2033-lrcn", "bvlc-testnets", "lenet-v2", "mtcnn", "squeezenet")
# Shape of an item where the prototxt states none, by a part of its path.
ITEMS = {
    "mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "jacinto-caffe/classification": (1, 28, 28),  # a model of DIGITS, its convolutions those of LeNet
    "vitis-tutorial-05-seg": (3, 512, 1024),  # lists of the whole pictures of Cityscapes, halved
}

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="real prototxts (../shared) are not here")


def _accepted(kind: str) -> list[str]:
    """Prototxts that a fork's own parser reads as `kind` (N or S), outside the folders of the other test."""
    found = []
    for line in (REAL / "PARSE_STATUS.txt").read_text().splitlines() if REAL.is_dir() else []:
        columns = line.split("#")[0].split()
        accepted = len(columns) == 7 and any(column.endswith(f"={kind}") for column in columns[:6])
        if accepted and columns[6].split("/")[0] not in ELSEWHERE:
            found.append(columns[6])
    return found


@pytest.fixture(autouse=True)
def without_large_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large blobs stay zeros, which cost nothing."""

    def fill_small(blob: Tensor, filler: Any) -> Tensor:
        return fill(blob, filler) if blob.numel() < 10000 else blob

    monkeypatch.setattr(layer, "fill", fill_small)


def _shapes(param: Any, phase: int, fork: Fork, relative_to: str | None) -> Source:
    try:
        return placeholder(param)
    except DataError:
        item = next(shape for name, shape in ITEMS.items() if name in str(relative_to))
        batch = param.data_param.batch_size if param.type == "Data" else param.image_data_param.batch_size
        label = (1, *item[1:]) if param.type == "ImageSegData" else ()
        return Placeholder([(batch, *item), (batch, *label)][: len(param.top)])


def _has_data(document: NetDocument, phase: int) -> bool:
    message, _, problems = filter_net(document.message, make_state(document.message, phase, None, ()), lambda _: None)
    return not problems and any(param.top and not param.bottom for param in message.layer)


@pytest.mark.parametrize("name", _accepted("N"))
def test_net_builds(name: str, record_property: Callable[[str, object], None]) -> None:
    document = open_net(REAL / name)
    phases = [phase for phase in (pb.TRAIN, pb.TEST) if _has_data(document, phase)]
    assert phases
    built = []
    for phase in phases:
        record_property("case of", f"prototxts that build, {name.split('/')[0]}, each in its phases")
        net = Net(document, phase, sources=_shapes, log=False)
        net.close()
        assert net.layers and net.outputs and len(net.graph_module.graph.nodes) >= len(net.layers)
        built.append(f"{'TRAIN' if phase == pb.TRAIN else 'TEST'} {len(net.layers)} layers")
    if len(built) < 2:
        built.append(f"no data for {'TEST' if pb.TRAIN in phases else 'TRAIN'}")
    record_property("line of", ("nets of the forks", f"{name} ({document.fork}): {', '.join(built)}"))


@pytest.mark.parametrize("name", _accepted("S"))
def test_solver_is_understood(name: str, record_property: Callable[[str, object], None]) -> None:
    param = read_solver(REAL / name)
    assert check_policy(param) + check_schedules(param) + check_eval(param) == []
    record_property("case of", f"solver prototxts that are understood, {name.split('/')[0]}")


def test_layers_out_of_scope_are_named_together_with_their_forks(tmp_path: Path) -> None:
    kinds = {"YoloEvalDetection": "Xilinx", "DenseCRF": "PSPNet", "MultiBoxLossRefine": "Xilinx"}
    problems = problems_of(tmp_path, INPUT + "".join(layer_text(kind, "data", kind) for kind in kinds))
    assert len(problems) == 3
    for problem, (kind, fork) in zip(problems, kinds.items(), strict=True):
        assert f"({kind}): is a layer of {fork}" in problem
        assert "caffecompat does not implement" in problem
