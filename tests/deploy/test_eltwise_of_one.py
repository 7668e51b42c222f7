"""Eltwise with one bottom, exported: a factor, or nothing at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from caffecompat.deploy.torch_source.source import make_source
from tests.deploy.exporting import export, input_of, operators
from tests.deploy.test_torch_layers import _run
from tests.net.nets import layer, make_net

CASES = [("coeff: 0.5", 0.5, ["Mul"]), ("", 1, []), ("operation: PROD", 1, []), ("operation: MAX", 1, [])]


def text(settings: str) -> str:
    between = layer("Eltwise", "data", "e", f"eltwise_param {{ {settings} }}")
    return input_of(1, 2, 3, 3) + between + layer("Power", "e", "top", "power_param { shift: 1 }")


@pytest.mark.parametrize(("settings", "factor", "made"), CASES)
def test_onnx(settings: str, factor: float, made: list[str], tmp_path: Path) -> None:
    done = export(text(settings), tmp_path / "net.onnx")
    assert operators(done) == [*made, "Add"]
    picture = np.random.default_rng(1).normal(size=(1, 2, 3, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"data": picture})[0], factor * picture + 1, rtol=1e-6)


@pytest.mark.parametrize("settings", [case[0] for case in CASES])
def test_an_output_of_the_net(settings: str, tmp_path: Path) -> None:
    """A top that is the bottom itself, and the net's output."""
    only = input_of(1, 2, 3, 3) + layer("Eltwise", "data", "e", f"eltwise_param {{ {settings} }}")
    assert export(only, tmp_path / "net.onnx").export.model.graph.output[0].name == "e"


@pytest.mark.parametrize(("settings", "factor"), [case[:2] for case in CASES])
def test_torch_source(settings: str, factor: float) -> None:
    import torch

    picture = torch.randn(1, 2, 3, 3)
    made = _run(make_source(make_net(text(settings))), {"data": picture}, torch.contiguous_format)
    torch.testing.assert_close(made["top"], factor * picture + 1)
