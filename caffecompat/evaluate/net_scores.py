"""A net's outputs over its own TEST-phase data, as ``caffe test`` scores it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from caffecompat.data import make_source
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.layers.coco_scores import CocoScores
from caffecompat.layers.detection_scores import DetectionScores
from caffecompat.net import Net
from caffecompat.net.coco_tally import CocoTally
from caffecompat.net.device import as_device
from caffecompat.net.precision import Amp, refuse_amp
from caffecompat.net.weights import WeightPaths, weight_paths
from caffecompat.schema import NetSource, as_document

__all__ = ["NetScores", "evaluate_net"]


@dataclass
class NetScores:
    """What a net's outputs amount to over some batches.

    Attributes:
        loss: mean of the weighted losses of a batch.
        outputs: of each output blob, the mean of each element, flattened, float64.
        detections: of each DetectionEvaluate layer's top, hits and misses (Xilinx Caffe, TI Jacinto); these are not
            among `outputs`.
        coco: of each such top, average precision as COCO has it.
    """

    loss: float = 0.0
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    detections: dict[str, DetectionScores] = field(default_factory=dict)
    coco: dict[str, CocoScores] = field(default_factory=dict)


def evaluate_net(
    model: NetSource | Net,
    weights: WeightPaths | None = None,
    *,
    iterations: int = 50,
    level: int = 0,
    stages: Sequence[str] = (),
    device: torch.device | str = "cpu",
    skip_mismatched: bool = False,
    allow_missing: bool = False,
    fork: ForkName | None = None,
    amp: Amp | None = None,
    on_batch: Callable[[int, Mapping[str, Tensor]], None] = lambda done, values: None,
) -> NetScores:
    """Score a net on its own TEST-phase data, as ``caffe test`` does: the mean of each output over some batches.

    Args:
        model: path of a prototxt with data layers, or a net that was read; or a `Net`, on whose device it runs.
        weights: weight file(s); None leaves the net's values.
        iterations: batches to run.
        level, stages: of the NetState.
        device: where to compute.
        skip_mismatched: leave layers that do not fit the weights at their initial values.
        allow_missing: go on though layers that need training get no weights from the files.
        fork: the Caffe whose rules hold, where the text cannot show it.
        amp: "bf16" or "fp16": layers compute in 16 bits, as of :class:`caffecompat.Net`.
        on_batch: called with how many batches are done and this one's outputs, flattened, float64.

    Raises:
        CaffeCompatError: the net, its weights or its data cannot be read, or do not fit; `iterations` is below 1.

    >>> import caffecompat
    >>> scores = caffecompat.evaluate_net("test.prototxt", "net.caffemodel", iterations=2)
    >>> (sorted(scores.outputs), scores.outputs["accuracy"].tolist())
    (['accuracy', 'loss'], [1.0])
    """
    if iterations < 1:
        raise CaffeCompatError(f"iterations {iterations} must be at least 1")
    own = not isinstance(model, Net)
    if isinstance(model, Net):
        refuse_amp(amp)
        net = model
    else:
        device = as_device(device)
        net = Net(
            as_document(model, fork=fork), "TEST", level=level, stages=tuple(stages), sources=make_source, log=False,
            amp=amp,
        ).to(device)  # fmt: skip
    if weights is not None:
        report = net.load_weights(weights, skip_mismatched=skip_mismatched)
        report.check(", ".join(weight_paths(weights)), allow_missing=allow_missing)
    net.check_files()
    try:
        return _scores(net, iterations, on_batch)
    finally:
        if own:
            net.close()


@torch.no_grad()
def _scores(net: Net, iterations: int, on_batch: Callable[[int, Mapping[str, Tensor]], None]) -> NetScores:
    coco = CocoTally(net)
    scores = NetScores(detections={name: DetectionScores() for name in coco.names})
    sums: dict[str, Tensor] = {}
    for batch in range(iterations):
        tops = net()
        scores.loss += float(net.loss(tops)) / iterations
        values = {name: tops[name].double().flatten() for name in net.outputs if name not in coco.names}
        for name, value in values.items():
            sums[name] = sums[name] + value if name in sums else value
        for name, found in scores.detections.items():
            found.add(tops[name].cpu().numpy())
        coco.add()
        on_batch(batch + 1, values)
    scores.outputs = {name: (total / iterations).cpu().numpy() for name, total in sums.items()}
    scores.coco = coco.scores()
    return scores
