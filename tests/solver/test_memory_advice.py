"""Out of memory: the layer, the amount, and what to change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.memory import OutOfMemory, asked_for, is_out_of_memory, out_of_memory
from caffecompat.solver import Solver, memory_advice

_NET = """
layer { name: "d" type: "DummyData" top: "d" top: "t" dummy_data_param { shape { dim: 12 dim: 3 dim: 8 dim: 8 }
  shape { dim: 12 dim: 5 dim: 8 dim: 8 } data_filler { type: "gaussian" } } }
layer { name: "c1" type: "Convolution" bottom: "d" top: "c1"
  convolution_param { num_output: 5 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "c1" bottom: "t" top: "loss" }
"""
_SOLVER = 'net: "net.prototxt" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 max_iter: 5 snapshot_prefix: "snap"'


@pytest.fixture
def solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Solver:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(_NET)
    Path("solver.prototxt").write_text(_SOLVER)
    return Solver("solver.prototxt")


@pytest.mark.parametrize(
    ("error", "amount"),
    [
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: "
                      "you tried to allocate 8522956800 bytes. Error code 12"), 8522956800),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:75] data. DefaultCPUAllocator: not enough memory: "
                      "you tried to allocate 4096 bytes."), 4096),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.50 GiB. GPU 0 has a total capacity of 79.1"),
         round(7.5 * 2**30)),
        (RuntimeError("CUDA error: out of memory"), None),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), None),
        (MemoryError("Unable to allocate 1.50 TiB for an array with shape (2, 3) and data type float32"),
         round(1.5 * 2**40)),
        (MemoryError(), None),
        (RuntimeError("std::bad_alloc"), None),
        (RuntimeError("Failed to allocate memory for requested buffer of size 1024"), 1024),
        (OSError(12, "Cannot allocate memory"), None),
    ],
)  # fmt: skip
def test_errors_of_all_libraries(error: Exception, amount: int | None) -> None:
    assert is_out_of_memory(error) and asked_for(error) == amount
    told = out_of_memory(error)
    assert told.status == 1 and out_of_memory(told) is told


def test_numpys_own_error() -> None:
    with pytest.raises(MemoryError) as raised:
        np.empty(1 << 60, np.float32)
    assert is_out_of_memory(raised.value) and asked_for(raised.value) == 1 << 62


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ValueError("the memory of a goldfish"), KeyError("m")]
)
def test_other_errors(error: Exception) -> None:
    assert not is_out_of_memory(error)


def _fail(amount: int) -> RuntimeError:
    return RuntimeError(f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {amount} bytes.")


def test_a_layer_in_the_forward_pass(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = next(layer.module for layer in solver.net.layers if layer.name == "c1")
    forward = type(layer).forward

    def failing(self: object, *bottoms: torch.Tensor) -> torch.Tensor:
        if solver.iter == 3 and not bottoms[0].is_meta:
            raise _fail(123456789)
        return forward(self, *bottoms)

    monkeypatch.setattr(type(layer), "forward", failing)
    monkeypatch.setattr(memory_advice, "_limit", lambda device: None)
    with pytest.raises(OutOfMemory) as raised:
        solver.train()
    text = str(raised.value)
    # By hand: blobs 12*64*(3 + 5 + 5) + 1, twice; weights 5*27 + 5 with gradients and momentum; 4 bytes each.
    assert "0.12 GB were asked for by layer 'c1' (Convolution), which makes 'c1' (12 x 5 x 8 x 8, 15.4 kB)" in text
    assert "about 79.9 kB for blobs and their gradients and 1.7 kB for weights, gradients and history" in text
    assert "the first dim: 6 instead of 12 in layer 'd' with iter_size: 2" in text
    assert "needs about 41.6 kB" in text
    assert Path("snap_iter_3.solverstate").exists()


def test_a_blob_in_the_backward_pass(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(tensor: torch.Tensor) -> None:
        raise _fail(12 * 5 * 8 * 8 * 4)

    monkeypatch.setattr(torch.Tensor, "backward", failing)
    with pytest.raises(OutOfMemory, match=r"for the gradient or a copy of blob 'c1' .* at layer 'loss' "):
        solver.train()


@pytest.mark.parametrize(
    ("limit", "advice"),
    [
        (1 << 40, "the first dim: 6 instead of 12 in layer 'd' with iter_size: 2 "),
        (45_000, "the first dim: 4 instead of 12 in layer 'd' with iter_size: 3 "),  # four fifths of it hold a third
        (10_000, "the first dim: 1 instead of 12 in layer 'd' with iter_size: 12 "),
        (1_000, "No batch is small enough for that"),
    ],
)
def test_the_batch_that_fits(solver: Solver, monkeypatch: pytest.MonkeyPatch, limit: int, advice: str) -> None:
    monkeypatch.setattr(memory_advice, "_limit", lambda device: limit)
    monkeypatch.setattr(torch.Tensor, "backward", lambda tensor: (_ for _ in ()).throw(_fail(1)))
    with pytest.raises(OutOfMemory, match=advice):
        solver.train()


def test_a_batch_of_one(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("net.prototxt").write_text(_NET.replace("dim: 12", "dim: 1"))
    one = Solver("solver.prototxt")
    monkeypatch.setattr(torch.Tensor, "backward", lambda tensor: (_ for _ in ()).throw(_fail(1)))
    with pytest.raises(OutOfMemory, match="the first dim of layer 'd' is 1 already; try smaller pictures"):
        one.train()


def test_frames_let_go_of_their_blobs(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the snapshot after a full memory would find no room."""
    import weakref

    held: list[weakref.ref[torch.Tensor]] = []

    def failing(tensor: torch.Tensor) -> None:
        big = torch.zeros(1000)
        held.append(weakref.ref(big))
        raise _fail(1)

    seen: list[bool] = []
    before_error = solver.snapshots.before_error
    monkeypatch.setattr(torch.Tensor, "backward", failing)
    monkeypatch.setattr(
        solver.snapshots, "before_error", lambda *a, **k: (seen.append(held[0]() is None), before_error(*a, **k))
    )
    with pytest.raises(OutOfMemory):
        solver.train()
    assert seen == [True]
    assert all(param.blob.grad is None for param in solver.net.params)
