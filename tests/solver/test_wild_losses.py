"""Training nets of R-FCN and of face recognition in little, under the solver."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.schema import NetDocument, parse_text, pb
from caffecompat.solver import Solver

DATA = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 12 dim: 6 } shape { dim: 12 } data_filler { type: "gaussian" std: 1 } data_filler { type: "constant"
  value: 1 } } }
layer { name: "fc5" type: "InnerProduct" bottom: "data" top: "fc5" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
"""
FACES = (
    DATA
    + """
layer { name: "fc6" type: "MarginInnerProduct" bottom: "fc5" bottom: "label" top: "fc6" top: "lambda"
  margin_inner_product_param { num_output: 3 type: QUADRUPLE weight_filler { type: "xavier" } base: 1000 gamma: 0.12
  power: 1 lambda_min: 5 iteration: 0 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc6" bottom: "label" top: "loss" }
layer { name: "center" type: "CenterLoss" bottom: "fc5" bottom: "label" top: "center" loss_weight: 0.008
  param { lr_mult: 1 decay_mult: 0 } center_loss_param { num_output: 3 center_filler { type: "gaussian" std: 1 } } }
"""
)
MINED = (
    DATA.replace("shape { dim: 12 } data", "shape { dim: 12 } shape { dim: 12 dim: 5 } shape { dim: 12 dim: 8 } data")
    .replace('top: "label"', 'top: "label" top: "rois" top: "weights"')
    .replace("value: 1 }", 'value: 1 } data_filler { type: "constant" value: 0 } '
             'data_filler { type: "constant" value: 1 }')
    + """
layer { name: "score" type: "InnerProduct" bottom: "fc5" top: "score" inner_product_param { num_output: 3
  weight_filler { type: "xavier" } } }
layer { name: "each" type: "SoftmaxWithLossOHEM" bottom: "score" bottom: "label" top: "t" top: "p" top: "each"
  loss_weight: 0 loss_weight: 0 loss_weight: 0 propagate_down: false propagate_down: false }
layer { name: "mine" type: "BoxAnnotatorOHEM" bottom: "rois" bottom: "each" bottom: "label" bottom: "weights"
  top: "hard" top: "hard_weights" propagate_down: false propagate_down: false propagate_down: false
  propagate_down: false box_annotator_ohem_param { roi_per_img: 3 ignore_label: -1 } }
layer { name: "quiet" type: "Silence" bottom: "t" bottom: "p" bottom: "hard_weights" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "hard" top: "loss"
  loss_param { ignore_label: -1 normalization: PRE_FIXED pre_fixed_normalizer: 3 } }
"""
)  # fmt: skip


def solver_of(folder: Path, net: str) -> Solver:
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(
        f'net: "{folder}/net.prototxt" base_lr: 0.5 lr_policy: "fixed" max_iter: 3 random_seed: 3 '
        f'snapshot_prefix: "{folder}/s" snapshot_after_train: false'
    )
    return Solver(str(folder / "solver.prototxt"))


def values(solver: Solver, name: str) -> list[np.ndarray]:
    return [blob.copy() for blob in solver.net.blobs_by_layer()[name]]


def test_a_center_moves_by_its_own_rule(tmp_path: Path) -> None:
    solver = solver_of(tmp_path, FACES)
    seen: list[torch.Tensor] = []
    module = next(layer.module for layer in solver.net.layers if layer.name == "center")
    module.register_forward_pre_hook(lambda _, bottoms: seen.append(bottoms[0].detach().clone()))
    (before,) = values(solver, "center")
    solver.step(1)
    (after,) = values(solver, "center")
    rows = seen[-1].numpy()
    moved = before[1] - 0.5 * (before[1] - rows).sum(0) / (1 + len(rows))
    np.testing.assert_allclose(after[1], moved, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    (weight,) = values(solver, "fc6")
    assert not np.allclose(np.linalg.norm(weight, axis=1), 1)  # the update comes after the forward that made it 1
    margin = next(layer.module for layer in solver.net.layers if layer.name == "fc6")
    assert margin.iteration == 1
    solver.step(2)
    assert margin.iteration == 3


def test_only_hard_examples_are_learned(tmp_path: Path) -> None:
    solver = solver_of(tmp_path, MINED)
    seen: dict[str, torch.Tensor] = {}
    for layer in solver.net.layers:
        if layer.name in ("fc5", "loss"):
            layer.module.register_forward_pre_hook(
                lambda _, bottoms, name=layer.name: seen.update({name: bottoms[0].detach().clone()})
            )
    fc5, score = values(solver, "fc5"), values(solver, "score")
    solver.step(1)
    weights = [torch.from_numpy(blob).requires_grad_() for blob in (*fc5, *score)]
    x = F.linear(F.linear(seen["fc5"], weights[0], weights[1]), weights[2], weights[3])
    torch.testing.assert_close(x.detach(), seen["loss"])
    losses = F.cross_entropy(x, torch.ones(12, dtype=torch.int64), reduction="none")
    (losses.topk(3)[0].sum() / 3).backward()
    after = [*values(solver, "fc5"), *values(solver, "score")]
    for blob, new, rate in zip(weights, after, (0.5, 1.0, 0.5, 0.5), strict=True):
        np.testing.assert_allclose(new, (blob - rate * blob.grad).detach().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("text", "left"), [(FACES, ["data", "fc5"]), (MINED, ["data", "fc5", "score"])])
def test_what_is_deployed(text: str, left: list[str]) -> None:
    made = deploy_net(NetDocument.from_message(parse_text(text, pb.NetParameter())))
    assert [layer.name for layer in made.message.layer] == left
