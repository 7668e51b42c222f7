"""Runs resumed from what does not fit: copied snapshots, other solvers, damaged places, generators nobody declared."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffecompat.cli.main import main
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.resume_file import read_resume
from caffecompat.solver import Solver

TRAIN = ("train", "--solver", "solver.prototxt")


def weights(solver: Solver) -> np.ndarray:
    return np.concatenate([blob.ravel() for blobs in solver.net.blobs_by_layer().values() for blob in blobs])


def trained(steps: int, *settings: str) -> np.ndarray:
    solver = Solver("solver.prototxt", overrides=settings)
    solver.step(steps)
    return weights(solver)


class TestCopiedSnapshots:
    def test_the_weights_next_to_a_copied_state_are_its_own(self, workdir: Path, log: list[str]) -> None:
        """Another run has written over the place that the state names."""
        expected = trained(5)
        shutil.copytree(".", "copy")
        trained(5, "base_lr=0.3", "random_seed=8")
        solver = Solver("solver.prototxt")
        solver.restore("copy/snap_iter_5.solverstate")
        assert np.array_equal(weights(solver), expected)
        assert any("which are others than copy/snap_iter_5.caffemodel next to it: taking those" in line for line in log)
        assert main([*TRAIN, "--set", "snapshot_prefix=copy/snap", "--resume", "auto", "--dry-run"]) == 0

    def test_the_same_weights_in_both_places_are_no_matter(self, workdir: Path, log: list[str]) -> None:
        expected = trained(5)
        shutil.copytree(".", "copy")
        solver = Solver("solver.prototxt")
        solver.restore("copy/snap_iter_5.solverstate")
        assert np.array_equal(weights(solver), expected)
        assert not any("taking" in line for line in log)

    def test_the_state_whose_weights_are_gone_is_named(self, workdir: Path, log: list[str]) -> None:
        trained(5)
        Path("copy").mkdir()
        shutil.move("snap_iter_5.solverstate", "copy/snap_iter_5.solverstate")
        Path("snap_iter_5.caffemodel").unlink()
        with pytest.raises(CaffeCompatError) as error:
            Solver("solver.prototxt").restore("copy/snap_iter_5.solverstate")
        assert str(error.value) == (
            "copy/snap_iter_5.solverstate: its weights snap_iter_5.caffemodel are gone, nor is there "
            "copy/snap_iter_5.caffemodel"
        )


class TestOtherSolvers:
    def test_a_type_with_as_much_history(self, workdir: Path, log: list[str]) -> None:
        trained(5)
        Solver("solver.prototxt", overrides=["type=Nesterov"]).restore("snap_iter_5.solverstate")
        assert any("type was 'SGD', it is 'Nesterov', which takes the other's history" in line for line in log)

    def test_the_file_of_a_state_that_does_not_fit_is_named(self, workdir: Path, log: list[str]) -> None:
        trained(5)
        adam = Solver("solver.prototxt", overrides=["type=Adam", "momentum2=0.99"])
        with pytest.raises(CaffeCompatError, match=r"^snap_iter_5.solverstate: the solver state holds 2 history blobs"):
            adam.restore("snap_iter_5.solverstate")

    def test_weights_that_a_resumed_run_does_not_use(self, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A command that is to go on by itself names both."""
        trained(5)
        shutil.copy("snap_iter_5.caffemodel", "start.caffemodel")
        assert main([*TRAIN, "--weights", "start.caffemodel", "--resume", "auto"]) == 0
        assert "--weights start.caffemodel: not used, as the run goes on from a snapshot" in capsys.readouterr().err


WALKS = {
    "hdf5": 'type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "data.txt" batch_size: 4 }',
    "hdf5-shuffled": 'type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "data.txt" batch_size: 4 '
    "shuffle: true }",
}
SENSELESS: tuple[Any, ...] = (-1, -(10**9), 0.5, float("nan"), "4", None, [], {})


@pytest.mark.parametrize("value", SENSELESS, ids=str)
@pytest.mark.parametrize(
    ("kind", "name"), [("hdf5", "row"), ("hdf5", "at"), ("hdf5-shuffled", "at"), ("hdf5-shuffled", "order")]
)
def test_a_place_that_is_none_is_reported(workdir: Path, log: list[str], kind: str, value: object, name: str) -> None:
    """With its digest right: a program wrote it so. Reading goes on, and neither waits for ever nor fails later."""
    net = Path("net.prototxt").read_text().splitlines()
    net[2] = f'layer {{ name: "data" {WALKS[kind]} }}'
    Path("net.prototxt").write_text("\n".join(net))
    trained(5)
    content = read_resume("snap_iter_5.resume").content
    (part,) = [part for part in content["parts"] if part.startswith("train net, layer 'data'")]
    state = content["parts"][part]
    if name == "row":
        state["row"] = value
    else:
        state["walk"][name] = [value] if name == "order" else value
    solver = Solver("solver.prototxt")
    (remark,) = solver.registry.restore(content)
    assert remark.startswith(f"{part}: cannot take over what is in it")
    solver.step(5)


DRAWING = """
import random
import numpy as np
import torch
import caffe

shared = np.random.default_rng(5)

class Noisy(caffe.Layer):
    def setup(self, bottom, top):
        self.old, self.plain = np.random.RandomState(3), random.Random(4)
        self.kinds = self.philox, self.torch = np.random.Generator(np.random.Philox(6)), torch.Generator()
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top):
        noise = self.old.rand() + self.plain.gauss(0, 1) + self.philox.normal() + shared.normal()
        top[0].data[...] = bottom[0].data + noise + float(torch.rand(1, generator=self.torch))
    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff
"""
USERS = """
import numpy as np
from caffecompat.layers import Layer, register

@register("NoisyOfAUser")
class Noisy(Layer):
    def __init__(self, param, bottom_shapes, context):
        super().__init__(param, bottom_shapes, context)
        self.generator = np.random.default_rng(7)
    def forward(self, bottom):
        return bottom + self.generator.normal()
"""


@pytest.mark.parametrize("kind", ["python", "user"])
def test_generators_that_a_users_layer_made_for_itself(
    workdir: Path, log: list[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from caffecompat.layers.user_layers import load_layers

    monkeypatch.syspath_prepend(workdir)
    layer = 'name: "noisy" bottom: "data" top: "noisy" '
    if kind == "python":
        Path("drawing.py").write_text(DRAWING)
        layer += 'type: "Python" python_param { module: "drawing" layer: "Noisy" }'
    else:
        Path("drawing_layers.py").write_text(USERS)
        load_layers("drawing_layers.py")
        layer += 'type: "NoisyOfAUser"'
    net = Path("net.prototxt").read_text().replace('bottom: "data" top: "ip"', 'bottom: "noisy" top: "ip"')
    Path("net.prototxt").write_text(net.replace('layer { name: "ip"', f'layer {{ {layer} }}\nlayer {{ name: "ip"'))
    expected = trained(8)
    sys.modules.pop("drawing", None)
    solver = Solver("solver.prototxt")
    solver.restore("snap_iter_5.solverstate")
    assert any("go on where they were" in line for line in log)
    solver.step(3)
    assert np.array_equal(weights(solver), expected)
    sys.modules.pop("drawing", None)
