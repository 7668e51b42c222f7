"""A loss scale (NVCaffe's global_grad_scale) leaves no trace in what is done with the gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat.solver import Solver

_HALF = "default_forward_type: FLOAT16 default_backward_type: FLOAT16 global_grad_scale: "
_CLIPPED = ["clip_gradients=0.05", "display=1", "test_initialization=false", "max_iter=4", "snapshot=0"]


def _run(folder: Path, scale: int, more: list[str]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Weights after four iterations, and the gradients that a callback before each update sees."""
    net = folder / "net.prototxt"
    text = net.read_text()
    net.write_text(f"{_HALF}{scale}\n{text}")
    solver = Solver("solver.prototxt", overrides=[*_CLIPPED, *more])
    seen: list[np.ndarray] = []
    solver.callbacks.append((lambda: None, lambda: seen.append(solver.net.params[0].blob.grad.clone().numpy())))
    solver.step(4)
    net.write_text(text)
    return solver.net.blobs_by_layer()["ip"][0].copy(), seen


@pytest.mark.parametrize("more", [[], ["iter_size=2"], ["debug_info=true"], ["iter_size=3", "debug_info=true"]])
def test_a_power_of_two_changes_nothing(workdir: Path, log: list[str], more: list[str]) -> None:
    plain, plain_seen = _run(workdir, 1, more)
    plain_log = [line for line in log if "clipping" in line or "[Backward]" in line or "[Update]" in line]
    assert sum("Gradient clipping" in line for line in plain_log) == 4
    assert any("[Backward]" in line for line in plain_log) == ("debug_info=true" in more)
    log.clear()
    scaled, scaled_seen = _run(workdir, 1024, more)
    np.testing.assert_array_equal(scaled, plain)
    np.testing.assert_array_equal(scaled_seen, plain_seen)
    assert [line for line in log if "clipping" in line or "[Backward]" in line or "[Update]" in line] == plain_log


def test_the_clipped_step_is_as_long_as_it_should_be(workdir: Path, log: list[str]) -> None:
    """|step| = base_lr x clip_gradients over all parameters, whatever the scale."""
    net = workdir / "net.prototxt"
    net.write_text(f"{_HALF}1000\n{net.read_text()}")
    solver = Solver("solver.prototxt", overrides=[*_CLIPPED, "momentum=0"])
    before = [param.blob.detach().clone() for param in solver.net.params]
    solver.step(1)
    squares = [float(((b - p.blob.detach()) ** 2).sum()) for b, p in zip(before, solver.net.params, strict=True)]
    assert np.sqrt(sum(squares)) == pytest.approx(0.1 * 0.05, rel=1e-3)
