"""Every layer case recorded from the original Caffes, forward and backward, in both memory formats."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from caffecompat.forks import Fork
from tests.layers.golden import Replay

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
FORKS = {
    "layers_bvlc": Fork.BVLC,
    "layers_ssd": Fork.SSD,
    "layers_xilinx": Fork.XILINX,
    "layers_jacinto": Fork.JACINTO,
    "layers_enet": Fork.ENET,
    "layers_pspnet": Fork.PSPNET,
    "quantize/layers": Fork.XILINX,
}
CASES = [path for folder in FORKS for path in sorted((GOLDEN / folder).glob("*.npz"))]
FOLDERS = {path: path.parent.relative_to(GOLDEN).as_posix() for path in CASES}

# Cases in which we keep to another rule than the recorded build, and why.
FROZEN = "the fork's CPU engine differentiates by the batch's statistics where it normalized by the stored ones"
HITS_ONLY = "the fork's confusion matrix holds nothing off its diagonal; ours counts the wrong pixels too"
UNWEIGHTED = "the fork's CPU code leaves the gradient unweighted by label_weights; ours is that of its GPU code"
IN_PLACE = "the fork's CPU code differentiates wrongly when BatchNorm without a scale works in place"
EPS_TWICE = "the fork's CPU code stores the variance with eps already added"
BEHIND_FROZEN = {"indiff/conv2", "paramdiff/conv1/0", "paramdiff/conv2/0", "paramdiff/convp1/0"} | {
    f"paramdiff/{layer}_bn/{blob}" for layer in ("conv1", "conv2") for blob in (0, 1)
}
KNOWN_DIFFERENCES = {
    **{f"BNTest-{case:02}": (FROZEN, {"indiff/x"}) for case in range(10)},
    **{f"BatchNormScaleBiasTrain-{case:02}": (EPS_TWICE, {"param_after/l/1"}) for case in (4, 9)},
    **{f"BatchNormTrain-{case:02}": (IN_PLACE, {"indiff/x"}) for case in (0, 1, 2, 4, 8, 9)},
    **{f"BatchNormTrain-{case:02}": (IN_PLACE + "; " + EPS_TWICE, {"indiff/x", "param_after/l/1"}) for case in (5, 7)},
    **{f"XilinxBatchNorm-{case:02}": (FROZEN, {"indiff/x"}) for case in (1, 2, 3, 6, 7, 8)},
    **{f"PspNet-{case:02}": (FROZEN, BEHIND_FROZEN | {"paramdiff/convp0/0"}) for case in (3, 4, 5, 7)},
    "PspNet-02": (FROZEN, BEHIND_FROZEN),
    **{f"JacintoNet-{case:02}": (HITS_ONLY, {"out/confusion"}) for case in range(10)},
    **{f"SegmentationAccuracy-{case:02}": (HITS_ONLY, {"out/y"}) for case in (0, 2, 3, 4, 7, 8, 9)},
    **{f"SoftmaxWithLossLabelWeights-{case:02}": (UNWEIGHTED, {"indiff/x"}) for case in (0, 1, 3, 4, 5, 6, 7, 8, 9)},
}

FORMATS = {torch.contiguous_format: "NCHW", torch.channels_last: "NHWC"}


@pytest.mark.parametrize("memory_format", FORMATS, ids=["nchw", "nhwc"])
@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{FOLDERS[path]}/{path.stem}")
def test_recorded_layer(
    path: Path, memory_format: torch.memory_format, record_property: Callable[[str, object], None]
) -> None:
    record_property("case of", f"recorded layers, {FOLDERS[path]}, {FORMATS[memory_format]}")
    replay = Replay(path, FORKS[FOLDERS[path]], memory_format)
    assert not replay.missing
    problems = replay.problems()
    reason, expected = KNOWN_DIFFERENCES.get(path.stem, ("", set()))
    assert {problem.split(":")[0] for problem in problems} == expected, problems
    if expected and memory_format == torch.contiguous_format:
        line = f"{FOLDERS[path]}/{path.stem.split('-')[0]}, {', '.join(sorted(expected))}: {reason}"
        record_property("line of", ("recorded layers: where we keep to another rule on purpose", line))
