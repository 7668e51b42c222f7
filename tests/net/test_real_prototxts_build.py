"""Every net of BVLC's repository and of some well-known ones builds, in the states that their solvers ask for.

Their data is not here, so their data layers get sources that tell shapes only: those that the prototxt tells, or those
of the data set that the example is about.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from caffecompat.data import DataError, Source
from caffecompat.data.placeholder import Placeholder, placeholder
from caffecompat.forks import Fork
from caffecompat.net import Net, NetError
from caffecompat.schema import NetDocument, open_net, pb, read_solver
from tests.layers.python_loss import EUCLIDEAN, IMPORTS

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
FOLDERS = ("bvlc", "bvlc-legacy", "bvlc-pr2033-lrcn", "bvlc-testnets", "lenet-v2", "mtcnn", "squeezenet")

# Shape of an item in the data set of an example, by a part of the prototxt's path.
ITEMS = {"siamese": (2, 28, 28), "mnist": (1, 28, 28), "lenet": (1, 28, 28), "cifar10": (3, 32, 32)}

# Caffe cannot build these either: they are inputs of its tests of upgrading and of splits.
NO_SIZES = "its layers lack sizes (num_output), the file only tests where splits go"
MISFITS = "a layer of each type, whose shapes do not fit together; it only tests the upgrade"
NO_NETS = {
    "bvlc-testnets/insert_splits/TestInsertion.expected_output_proto.prototxt": NO_SIZES,
    "bvlc-testnets/insert_splits/TestInsertion.input_proto.prototxt": NO_SIZES,
    "bvlc-testnets/insert_splits/TestInsertionTwoTop.expected_output_proto.prototxt": NO_SIZES,
    "bvlc-testnets/insert_splits/TestInsertionTwoTop.input_proto.prototxt": NO_SIZES,
    "bvlc-testnets/insert_splits/TestNoInsertion1.input_proto.prototxt": NO_SIZES,
    "bvlc-testnets/insert_splits/TestNoInsertion2.input_proto.prototxt": NO_SIZES,
    "bvlc-testnets/insert_splits/TestNoInsertionWithInPlace.input_proto.prototxt": NO_SIZES,
    "bvlc-testnets/insert_splits/TestWithInPlace.expected_output_proto.prototxt": NO_SIZES,
    "bvlc-testnets/insert_splits/TestWithInPlace.input_proto.prototxt": NO_SIZES,
    "bvlc-testnets/upgrade/TestAllParams.expected_output_proto.prototxt": MISFITS,
    "bvlc-testnets/upgrade/TestAllParams.input_proto.prototxt": MISFITS,
}

State = tuple[int, tuple[str, ...]]

# BVLC's example of a loss in Python; the module that the prototxt names is not among the files.
PYLOSS = IMPORTS + EUCLIDEAN.replace("class Euclidean(", "class EuclideanLossLayer(")


def _is_solver(path: Path) -> bool:
    return "solver" in path.name


def _nets() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (REAL / folder).rglob("*.prototxt") if not _is_solver(path))


def _solvers() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (REAL / folder).rglob("*.prototxt") if _is_solver(path))


def _states_of(solver: Any) -> list[State]:
    tests = [tuple(state.stage) for state in solver.test_state] or [()] * bool(solver.test_iter)
    return [(pb.TRAIN, tuple(solver.train_state.stage)), *((pb.TEST, stages) for stages in tests)]


def _states(path: Path) -> list[State]:
    """The states that solvers next to the net ask for, where these name stages; else both phases."""
    asked: dict[State, None] = {}
    for other in filter(_is_solver, path.parent.glob("*.prototxt")):
        solver = read_solver(other)
        if Path(solver.net).name == path.name:
            asked.update(dict.fromkeys(_states_of(solver)))
    if any(stages for _, stages in asked):
        return list(asked)
    return [(pb.TRAIN, ()), (pb.TEST, ())]


@pytest.fixture(autouse=True)
def pyloss(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A module `pyloss` to import."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "pyloss.py").write_text(PYLOSS)
    yield
    sys.modules.pop("pyloss", None)


class Shapes:
    """Makes sources that tell shapes; `told` says which."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, param: Any, phase: int, fork: Fork, relative_to: str | None) -> Source:
        try:
            with torch.device("cpu"):
                source = placeholder(param)
        except DataError:
            source = Placeholder(self._shapes(param, str(relative_to)))
        shapes = ", ".join("x".join(map(str, shape)) for shape in source.top_shapes)
        self.told.append(f"{param.type} {shapes}")
        return source

    @staticmethod
    def _shapes(param: Any, path: str) -> list[tuple[int, ...]]:
        if param.type == "HDF5Data":
            batch = param.hdf5_data_param.batch_size
            if "lrcn" in path:  # sentences: words (steps) x streams
                return [(batch, 50 if "buffer_50" in path else 100)] * len(param.top)
            return [(batch, 4), (batch,)][: len(param.top)]
        item = next((shape for name, shape in ITEMS.items() if name in path), (1, 1, 1))
        return [(param.data_param.batch_size, *item), (param.data_param.batch_size,)][: len(param.top)]


def _build(document: NetDocument, states: list[State], tell: Callable[[str, object], None], folder: str) -> None:
    for phase, stages in states:
        shapes = Shapes()
        tell("case of", f"prototxts that build, {folder}, each in its states")
        with torch.device("meta"):  # weights of a gigabyte need not be filled to see whether they fit
            net = Net(document, phase, stages=stages, sources=shapes, log=False)
        assert net.steps
        for told in shapes.told:
            tell("line of", ("data layers of real prototxts whose data is not here: shapes instead", told))


@pytest.mark.skipif(not REAL.is_dir(), reason="real prototxts (../shared) are not here")
@pytest.mark.parametrize("path", _nets(), ids=lambda path: str(path.relative_to(REAL)))
def test_net_builds(path: Path, record_property: Callable[[str, object], None]) -> None:
    name = str(path.relative_to(REAL))
    document, states = open_net(path), _states(path)
    if name not in NO_NETS:
        _build(document, states, record_property, name.split("/")[0])
        return
    for phase, stages in states:
        with torch.device("meta"), pytest.raises(NetError):
            Net(document, phase, stages=stages, sources=Shapes(), log=False)
    record_property("line of", ("prototxts that do not build, as in Caffe", f"{name}: {NO_NETS[name]}"))


@pytest.mark.skipif(not REAL.is_dir(), reason="real prototxts (../shared) are not here")
@pytest.mark.parametrize("path", _solvers(), ids=lambda path: str(path.relative_to(REAL)))
def test_nets_inside_a_solver_build(path: Path, record_property: Callable[[str, object], None]) -> None:
    solver = read_solver(path)
    inside = [solver.net_param] if solver.HasField("net_param") else []
    trained = [solver.train_net_param] if solver.HasField("train_net_param") else []
    for message, states in [
        *((net, _states_of(solver)) for net in inside),
        *((net, _states_of(solver)[:1]) for net in trained),
        *((net, [state]) for net, state in zip(solver.test_net_param, _states_of(solver)[1:], strict=False)),
    ]:
        document = NetDocument.from_message(message, str(path))
        _build(document, states, record_property, str(path.relative_to(REAL)).split("/")[0])
