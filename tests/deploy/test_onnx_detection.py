"""DetectionOutput with a threshold that adapts, computed by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffecompat.deploy.onnx.export import ExportOptions, export_net
from caffecompat.deploy.onnx.file import write_model
from caffecompat.deploy.onnx.run import run_model, run_net
from caffecompat.net import NetError
from tests.net.nets import make_net

PRIORS, CLASSES, IMAGES = 60, 4, 2


def _net(nms: str, keep: int = 40) -> Any:
    def fed(name: str, *shape: int) -> str:
        dims = " ".join(f"dim: {size}" for size in shape)
        return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'

    return make_net(
        fed("loc", IMAGES, PRIORS * 4)
        + fed("conf", IMAGES, PRIORS * CLASSES)
        + fed("priors", 1, 2, PRIORS * 4)
        + 'layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "priors" top: "out"\n'
        + f"detection_output_param {{ num_classes: {CLASSES} share_location: true background_label_id: 0\n"
        + f"nms_param {{ {nms} }} code_type: CENTER_SIZE keep_top_k: {keep} confidence_threshold: 0.1 }} }}\n"
    )


def _inputs(seed: int) -> dict[str, np.ndarray]:
    """Boxes in three heaps, so that many overlap each other more or less."""
    rng = np.random.default_rng(seed)
    center = rng.choice([0.2, 0.5, 0.8], (PRIORS, 1)) + rng.normal(0, 0.02, (PRIORS, 2))
    half = 0.1 + rng.normal(0, 0.01, (PRIORS, 2))
    variances = np.tile([0.1, 0.1, 0.2, 0.2], (PRIORS, 1))
    priors = np.stack([np.concatenate([center - half, center + half], 1), variances])
    scores = rng.random((IMAGES, PRIORS, CLASSES))
    return {
        "loc": rng.normal(0, 0.3, (IMAGES, PRIORS * 4)).astype(np.float32),
        "conf": scores.reshape(IMAGES, -1).astype(np.float32),
        "priors": priors.reshape(1, 2, -1).astype(np.float32),
    }


@pytest.mark.parametrize("opset", [9, 11, 13, 21])
@pytest.mark.parametrize("eta", [0.9, 0.6])
def test_the_threshold_falls_with_every_box_that_stays(eta: float, opset: int, tmp_path: Path) -> None:
    net, plain = _net(f"nms_threshold: 0.8 eta: {eta} top_k: 50"), _net("nms_threshold: 0.8 top_k: 50")
    export = export_net(net, ExportOptions(opset=opset))
    with (tmp_path / "net.onnx").open("wb") as file:
        write_model(file, export.model, export.weights)
    for seed in range(3):
        inputs = _inputs(seed)
        wanted = run_net(net, inputs)["out"]
        assert wanted.shape != run_net(plain, inputs)["out"].shape or (wanted != run_net(plain, inputs)["out"]).any()
        found = run_model(tmp_path / "net.onnx", inputs)["out"]
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_threshold_that_is_low_already_does_not_fall() -> None:
    export = export_net(_net("nms_threshold: 0.45 eta: 0.9 top_k: 50"))
    assert "NonMaxSuppression" in {node.op_type for node in export.model.graph.node}


def test_what_cannot_adapt_says_what_to_do() -> None:
    with pytest.raises(NetError, match="--cut-detection"):
        export_net(_net("nms_threshold: 0.8 eta: 0.9 top_k: 50"), ExportOptions(target="tidl"))
