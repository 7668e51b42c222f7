"""Every network at its published size, exported and computed by onnxruntime: minutes, so not part of every run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.deploy.onnx.write import export_onnx
from caffecompat.net import Net
from caffecompat.schema import pb
from caffecompat.zoo import NETWORKS, network_files
from tests.zoo.test_networks import SMALLEST, calm_norms, calm_scores, placed_net, random_batch


def _calm_branches(train: Net) -> None:
    """Let residual branches add little, as in a network that learns: a hundred that add much magnify rounding."""
    with torch.no_grad():
        for layer in train.layers:
            if layer.name.endswith("bn3_scale"):
                layer.slots[0].tensor().fill_(0.2)


@pytest.mark.nightly
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_computes_the_same_at_the_published_size(name: str, tmp_path: Path) -> None:
    """With weights of one pass over small pictures, which fit pictures of every size."""
    network = NETWORKS[name]
    side = SMALLEST.get(name, 64)
    recipe = replace(
        network.recipe, width=side, height=side, crop=side if network.recipe.crop else 0, batch_size=2,
        moving_average_fraction=0.0,
    )  # fmt: skip
    for folder, files in (("small", network_files(network, recipe)), ("full", network_files(network))):
        (tmp_path / folder).mkdir()
        for file, text in files.items():
            (tmp_path / folder / file).write_text(text)
    torch.manual_seed(0)
    train = placed_net(tmp_path / "small/train_val.prototxt", pb.TRAIN, recipe)
    _calm_branches(train)
    with torch.no_grad():
        train(random_batch(network, recipe))
    calm_norms(train)
    calm_scores(train, tmp_path / "small")
    train.save(tmp_path / "weights.caffemodel")
    full = network.recipe
    shape = (full.deploy_batch, full.channels, full.height, full.width)
    data = {"data": np.random.default_rng(1).standard_normal(shape, np.float32)}
    done = export_onnx(
        tmp_path / "full/deploy.prototxt",
        tmp_path / "weights.caffemodel",
        tmp_path / "net.onnx",
        cut=network.task == "detection",
        inputs=lambda _: data,
    )
    assert done.differences
    assert max(difference.absolute for difference in done.differences) <= 1e-4
