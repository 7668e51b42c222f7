"""How long a net's passes take, in all and layer by layer, as ``caffe time`` measures them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from caffecompat.data import make_source
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.net import Net
from caffecompat.net.device import as_device
from caffecompat.net.interpreter import Interpreter
from caffecompat.net.precision import Amp, refuse_amp
from caffecompat.net.weights import WeightPaths, weight_paths
from caffecompat.schema import NetSource, as_document

__all__ = ["LayerTime", "NetTimes", "time_net"]


@dataclass
class LayerTime:
    """Milliseconds that a layer takes in one pass, on average."""

    name: str
    forward: float = 0.0
    backward: float = 0.0


@dataclass
class NetTimes:
    """Milliseconds that the passes of a net take, on average.

    Attributes:
        loss: of the pass before the measurement.
        layers: Caffe's layers in order, Splits included.
        forward, backward: of one pass through all layers.
        total: of all iterations together.
    """

    loss: float = 0.0
    layers: list[LayerTime] = field(default_factory=list)
    forward: float = 0.0
    backward: float = 0.0
    total: float = 0.0


def time_net(
    model: NetSource | Net,
    weights: WeightPaths | None = None,
    *,
    phase: int | str = "TRAIN",
    iterations: int = 50,
    level: int = 0,
    stages: Sequence[str] = (),
    device: torch.device | str = "cpu",
    fork: ForkName | None = None,
    amp: Amp | None = None,
    on_start: Callable[[float], None] = lambda loss: None,
    on_iteration: Callable[[int, float], None] = lambda done, milliseconds: None,
) -> NetTimes:
    """Time a net's forward and backward pass layer by layer, as ``caffe time`` does.

    The layers run one after the other, each waited for; what torch saves by running a net as a whole does not show.

    Args:
        model: path of a prototxt, or a net that was read; or a `Net`, which is run as it is.
        weights: weight file(s); the time does not depend on them.
        phase: "TRAIN" or "TEST", or pycaffe's numbers of them.
        iterations: passes to run, after one that is not counted.
        level, stages: of the NetState.
        device: where to compute.
        fork: the Caffe whose rules hold, where the text cannot show it.
        amp: "bf16" or "fp16": layers compute in 16 bits, as of :class:`caffecompat.Net`.
        on_start: called after the first pass with its loss.
        on_iteration: called after each iteration with how many are done and the milliseconds that it took.

    Raises:
        CaffeCompatError: the net, its weights or its data cannot be read; `iterations` is below 1.

    >>> import caffecompat
    >>> times = caffecompat.time_net("train_val.prototxt", iterations=2)
    >>> [layer.name for layer in times.layers]
    ['data', 'conv', 'fc', 'loss']
    >>> times.total >= 2 * times.forward > 0
    True
    """
    if iterations < 1:
        raise CaffeCompatError(f"iterations {iterations} must be at least 1")
    if isinstance(model, Net):
        refuse_amp(amp)
        return _measure(model, iterations, on_start, on_iteration)
    device = as_device(device)
    net = Net(
        as_document(model, fork=fork), phase, level=level, stages=tuple(stages), sources=make_source, log=False,
        amp=amp,
    )  # fmt: skip
    try:
        if weights is not None:
            net.load_weights(weights).describe_missing(", ".join(weight_paths(weights)))
        return _measure(net.to(device), iterations, on_start, on_iteration)
    finally:
        net.close()


def _measure(
    net: Net, iterations: int, on_start: Callable[[float], None], on_iteration: Callable[[int, float], None]
) -> NetTimes:
    interpreter = Interpreter(net)
    wait = torch.cuda.synchronize if net.device.type == "cuda" else _nothing
    times = NetTimes(interpreter.forward(), [LayerTime(step.name) for step in interpreter.steps])
    interpreter.backward()
    on_start(times.loss)
    begun = time.perf_counter()
    for iteration in range(iterations):
        start = time.perf_counter()
        for index, layer in enumerate(times.layers):
            layer.forward += _milliseconds(interpreter.forward, index, wait) / iterations
        middle = time.perf_counter()
        for index in reversed(range(len(times.layers))):
            times.layers[index].backward += _milliseconds(interpreter.backward, index, wait) / iterations
        end = time.perf_counter()
        times.forward += (middle - start) * 1000 / iterations
        times.backward += (end - middle) * 1000 / iterations
        on_iteration(iteration + 1, (end - start) * 1000)
    times.total = (time.perf_counter() - begun) * 1000
    return times


def _nothing() -> None:
    """Computation on the CPU is finished when the call returns."""


def _milliseconds(run: Callable[[int, int], object], index: int, wait: Callable[[], None]) -> float:
    start = time.perf_counter()
    run(index, index)
    wait()
    return (time.perf_counter() - start) * 1000
