"""How nets are computed: what a solver's `execution` sets, and that TF32 is off unless asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.cli.common.devices import choose_device
from caffecompat.errors import CaffeCompatError
from caffecompat.net.device import allow_tf32
from caffecompat.solver import Solver
from caffecompat.solver.execution import Execution


def _trained(execution: Execution) -> list[np.ndarray]:
    solver = Solver("solver.prototxt", overrides=["random_seed=2"], execution=execution)
    solver.train()
    return [blob for blobs in solver.net.blobs_by_layer().values() for blob in blobs]


def test_checkpointed_training_is_the_same(workdir: Path) -> None:
    plain, checkpointed = _trained(Execution()), _trained(Execution(checkpoint_activations=True))
    for one, two in zip(plain, checkpointed, strict=True):
        np.testing.assert_array_equal(one, two)


def test_compiled_or_checkpointed() -> None:
    with pytest.raises(CaffeCompatError, match="not both"):
        Execution(compiled=True, checkpoint_activations=True)


def test_held_gradients_stay_in_their_memory(workdir: Path) -> None:
    solver = Solver("solver.prototxt")
    solver.passes.hold_gradients()
    before = [param.blob.grad.data_ptr() for param in solver.net.params if param.blob.grad is not None]
    solver.step(2)
    assert before
    assert [param.blob.grad.data_ptr() for param in solver.net.params if param.blob.grad is not None] == before


def test_tf32_is_off_unless_asked_for() -> None:
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        allow_tf32(True)
        choose_device(None, "cpu")
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
        choose_device(None, "cpu", tf32=True)
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
