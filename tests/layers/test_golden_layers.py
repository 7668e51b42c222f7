"""Every layer case recorded from the original Caffes, forward and backward, in both memory formats."""

from pathlib import Path

import pytest
import torch

from tests.layers.golden import Replay

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
DIALECTS = {"layers_bvlc": "B", "layers_xilinx": "X"}
CASES = [path for folder in DIALECTS for path in sorted((GOLDEN / folder).glob("*.npz"))]

# Cases in which we keep to another rule than the recorded build, and why.
FROZEN = "the fork's CPU engine differentiates by the batch's statistics where it normalised by the stored ones"
KNOWN_DIFFERENCES = {f"XilinxBatchNorm-{case:02}": (FROZEN, {"indiff/x"}) for case in (1, 2, 3, 6, 7, 8)}

FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("memory_format", FORMATS, ids=["nchw", "nhwc"])
@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recorded_layer(path: Path, memory_format: torch.memory_format) -> None:
    problems = Replay(path, DIALECTS[path.parent.name], memory_format).problems()
    _, expected = KNOWN_DIFFERENCES.get(path.stem, ("", set()))
    assert {problem.split(":")[0] for problem in problems} == expected, problems
