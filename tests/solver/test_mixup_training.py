"""A net learns from mixed items, smoothed labels and dropped paths; the solver counts what off_iter counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from caffecompat.layers.mixup import Mixup
from caffecompat.solver import Solver

NET = """
layer { name: "data" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "data.txt" batch_size: 6 } }
layer { name: "mix" type: "Mixup" bottom: "data" bottom: "label" top: "mixed" top: "soft" top: "hard"
  mixup_param { num_classes: 3 mode: ELEM off_iter: 30 mixup_alpha: 0.4 } }
layer { name: "branch" type: "InnerProduct" bottom: "mixed" top: "branch"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "path" type: "DropPath" bottom: "branch" top: "path" drop_path_param { drop_prob: 0.2 } }
layer { name: "sum" type: "Eltwise" bottom: "mixed" bottom: "path" top: "sum" }
layer { name: "ip" type: "InnerProduct" bottom: "sum" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "soft" top: "loss"
  loss_param { label_smoothing: 0.1 } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "hard" top: "accuracy" include { phase: TEST } }
"""


def solver_of(more: str = "") -> Solver:
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.2 lr_policy: "fixed" momentum: 0.9 max_iter: 60 snapshot: 40 test_iter: 2 '
        f'test_interval: 30 snapshot_prefix: "s" random_seed: 3 {more}'
    )
    return Solver("solver.prototxt")


@pytest.mark.parametrize("more", ["", "iter_size: 2"])
def test_it_learns_and_stops_mixing_by_the_iteration(workdir: Path, more: str) -> None:
    solver = solver_of(more)
    layer = next(layer.module for layer in solver.net.layers if layer.name == "mix")
    assert isinstance(layer, Mixup)
    mixed: dict[int, set[bool]] = {}

    def record(module: Mixup, given: tuple[torch.Tensor, ...], made: tuple[torch.Tensor, ...]) -> None:
        mixed.setdefault(module.iteration, set()).add(made[0] is not given[0])

    layer.register_forward_hook(record)
    before = solver.test(0)
    solver.train()
    assert sorted(mixed) == list(range(60))
    assert all(mixed[iteration] == {iteration < 30} for iteration in mixed)
    after = solver.test(0)
    assert before and after and after["accuracy"] == [1] and after["loss"][0] < 0.6 * before["loss"][0]


def test_a_resumed_run_knows_its_iteration(workdir: Path) -> None:
    solver_of().train()
    resumed = solver_of()
    layer = next(layer.module for layer in resumed.net.layers if layer.name == "mix")
    assert layer is not None and layer.iteration == 0
    resumed.restore("s_iter_40.solverstate")
    resumed.step(1)
    assert layer.iteration == 40
