"""Fillers: distributions, fans and refusals."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from caffecompat.layers.fillers import FillerError, fill
from caffecompat.schema import parse_text, pb


def filled(text: str, *shape: int) -> torch.Tensor:
    torch.manual_seed(3)
    return fill(torch.empty(shape), parse_text(text, pb.FillerParameter()))


def test_constant():
    assert filled("value: 0.25", 2, 3).eq(0.25).all()


def test_uniform():
    values = filled('type: "uniform" min: -1 max: 3', 20000)
    assert values.min() >= -1 and values.max() <= 3
    assert values.mean() == pytest.approx(1, abs=0.05)
    assert values.std() == pytest.approx(4 / math.sqrt(12), rel=0.05)


def test_gaussian_and_sparse():
    values = filled('type: "gaussian" mean: 2 std: 0.5', 20000)
    assert values.mean() == pytest.approx(2, abs=0.02)
    assert values.std() == pytest.approx(0.5, rel=0.05)
    sparse = filled('type: "gaussian" std: 1 sparse: 5', 50, 400)
    assert (sparse != 0).float().mean() == pytest.approx(5 / 50, rel=0.1)


@pytest.mark.parametrize(("norm", "fan"), [("", 60), ("FAN_IN", 60), ("FAN_OUT", 3200), ("AVERAGE", 1630)])
def test_fans(norm, fan):
    suffix = f" variance_norm: {norm}" if norm else ""
    shape = (800, 15, 2, 2)  # fan_in 15 x 4, fan_out 800 x 4
    values = filled(f'type: "xavier"{suffix}', *shape)
    assert values.abs().max() == pytest.approx(math.sqrt(3 / fan), rel=0.01)
    assert filled(f'type: "msra"{suffix}', *shape).std() == pytest.approx(math.sqrt(2 / fan), rel=0.02)


def test_fans_of_a_vector():
    # BVLC: fan_in of one axis is count / shape[0] = 1, fan_out the whole count.
    assert filled('type: "xavier"', 5000).abs().max() == pytest.approx(math.sqrt(3), rel=0.01)
    assert filled('type: "xavier" variance_norm: FAN_OUT', 5000).abs().max() < math.sqrt(3 / 5000)


def test_positive_unitball():
    values = filled('type: "positive_unitball"', 6, 4, 5)
    assert values.min() > 0
    assert torch.allclose(values.sum((1, 2)), torch.ones(6))


@pytest.mark.parametrize(
    ("size", "ramp"), [(4, [0.25, 0.75, 0.75, 0.25]), (3, [0.5, 1.0, 0.5]), (2, [0.5, 0.5]), (1, [1.0])]
)
def test_bilinear(size, ramp):
    values = filled('type: "bilinear"', 3, 2, size, size)
    want = torch.outer(torch.tensor(ramp), torch.tensor(ramp))
    assert torch.allclose(values, want.expand(3, 2, size, size))


@pytest.mark.parametrize(
    ("text", "shape", "words"),
    [
        ('type: "xavir"', (2,), "unknown filler type 'xavir'; known: .*xavier"),
        ('type: "uniform" min: 1 max: 0', (2,), "above max"),
        ('type: "gaussian" std: -1', (2,), "negative"),
        ('type: "uniform" sparse: 3', (2,), "only the gaussian filler"),
        ('type: "bilinear"', (1, 1, 3, 4), "square"),
        ('type: "bilinear"', (3, 3), "4-d"),
        ('type: "xavier"', (0, 3), "no values"),
    ],
)
def test_errors(text, shape, words):
    with pytest.raises(FillerError, match=words):
        filled(text, *shape)


def test_bare_scalar():
    assert filled('type: "xavier"').shape == ()


def test_diagonal() -> None:
    """Each output takes its own input, by diag_val over the kernel's area, by 1 where there are fewer values."""
    blob = fill(torch.empty(3, 4, 2, 2), parse_text('type: "diagonal" diag_val: 2 diag_val: -1', pb.FillerParameter()))
    wanted = torch.zeros(3, 4, 2, 2)
    wanted[0, 0], wanted[1, 1], wanted[2, 2] = 0.5, -0.25, 0.25
    assert torch.equal(blob, wanted)


@pytest.mark.parametrize("kind", ["uniform", "gaussian", "xavier", "msra", "positive_unitball", "bilinear", "diagonal"])
def test_blobs_without_memory_are_not_drawn(kind: str) -> None:
    blob = torch.empty(2, 2, 3, 3, device="meta")
    assert fill(blob, pb.FillerParameter(type=kind, sparse=1 if kind == "gaussian" else -1)) is blob
    with pytest.raises(FillerError):
        fill(blob, pb.FillerParameter(type="uniform", min=1, max=0))


def test_shapes_are_found_without_torchs_compiler(tmp_path: Path) -> None:
    """Which torch loads for random values on its meta device, in twice the time that all else takes."""
    (tmp_path / "net.prototxt").write_text("""
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
        layer { name: "c" type: "Convolution" bottom: "x" top: "c"
          convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "msra" } } }""")
    script = (
        "import sys, caffecompat; caffecompat.diff_nets('net.prototxt', 'net.prototxt'); "
        "caffecompat.summarize('net.prototxt'); sys.exit('torch._dynamo' in sys.modules or 'sympy' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment).returncode == 0
