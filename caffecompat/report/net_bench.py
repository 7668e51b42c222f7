"""What networks cost, side by side: parameters, multiply-accumulates, time and memory of a forward pass."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from caffecompat.arguments import as_count
from caffecompat.compare.inputs import valid_values
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.net.device import as_device
from caffecompat.net.summary import summarize_net
from caffecompat.report.plots import draw
from caffecompat.schema import NetSource

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COSTS", "NetCost", "bench_nets", "plot_costs"]

_LEAST_SECONDS = 0.02  # of one measurement: shorter passes are repeated
COSTS = {"macs": "MACs (G)", "milliseconds": "forward pass (ms)", "parameters": "parameters (M)"}


@dataclass(frozen=True)
class NetCost:
    """What one network costs.

    Attributes:
        inputs: blob -> shape, the batch included.
        parameters: values that training changes, as published tables count them: statistics of batch norms are not
            among them. `macs`: multiply-accumulates of one input.
        milliseconds: of a forward pass of the batch, the median.
        images_per_second: inputs a second at that time.
        peak_bytes: of the weights and of the most blobs alive at once, as 32-bit floats; on a GPU what torch measured.
        score: what was given for it, or None.
    """

    name: str
    inputs: Mapping[str, tuple[int, ...]]
    parameters: int
    macs: float
    milliseconds: float
    images_per_second: float
    peak_bytes: int
    score: float | None = None


def bench_nets(
    models: Mapping[str, NetSource],
    *,
    size: tuple[int, int] | None = None,
    batch: int = 1,
    rounds: int = 10,
    device: torch.device | str = "cpu",
    scores: Mapping[str, float] | None = None,
    on_round: Callable[[int], None] = lambda done: None,
) -> list[NetCost]:
    """Measure networks side by side: all of them in each round, so that a busy machine is unfair to none.

    What is measured is the net for deployment, as `deploy_net` makes it of a net that trains.

    Args:
        models: a name for each, and the path of its prototxt or a net that was read.
        size: (height, width) of the inputs in pixels, instead of each model's own.
        batch: inputs a pass.
        rounds: measurements of each, of which the median counts; one more before them does not count.
        device: where to compute.
        scores: of the models, by name, to stand beside the costs.
        on_round: called after each round with how many are done.

    Raises:
        CaffeCompatError: a model cannot be read or deployed; `batch` or `rounds` is below 1; a score is of no model.

    >>> import caffecompat
    >>> (cost,) = caffecompat.bench_nets({"small": "deploy.prototxt"}, rounds=3, batch=2)
    >>> (cost.name, cost.inputs, cost.parameters, cost.macs)
    ('small', {'data': (2, 3, 8, 8)}, 624, 7424.0)
    >>> cost.images_per_second > 0
    True
    """
    as_count(batch, "batch")
    as_count(rounds, "rounds")
    scores = scores or {}
    unknown = [name for name in scores if name not in models]
    if unknown:
        raise CaffeCompatError(f"a score is given for {unknown[0]}, but the models are: {', '.join(models)}")
    where = as_device(device)
    running = {name: _Running(model, size, batch, where) for name, model in models.items()}
    for done in range(rounds + 1):
        for one in running.values():
            one.measure(counts=done > 0)
        if done:
            on_round(done)
    return [one.cost(name, scores.get(name)) for name, one in running.items()]


class _Running:
    """A net with its inputs, and the times it took."""

    def __init__(self, model: NetSource, size: tuple[int, int] | None, batch: int, device: torch.device) -> None:
        deployed = deploy_net(model, size=size, batch=batch)
        self._net = Net(deployed.message, "TEST", log=False).to(device)
        random = np.random.default_rng(0)
        self._inputs = {}
        for blob, shape in deployed.inputs.items():
            values = valid_values(self._net, blob, random)
            values = random.standard_normal(shape, np.float32) if values is None else values
            self._inputs[blob] = torch.from_numpy(values).to(device)
        self._batch = batch
        self._times: list[float] = []
        self._device = device

    def measure(self, *, counts: bool) -> None:
        """Run the net for a while; `counts`: whether the time is kept."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        passes, begun = 0, time.perf_counter()
        with torch.inference_mode():
            while not passes or time.perf_counter() - begun < _LEAST_SECONDS:
                self._net(**self._inputs)
                if self._device.type == "cuda":
                    torch.cuda.synchronize(self._device)
                passes += 1
        if counts:
            self._times.append((time.perf_counter() - begun) / passes)

    def cost(self, name: str, score: float | None) -> NetCost:
        summary = summarize_net(self._net)
        seconds = statistics.median(self._times)
        peak = 4 * (summary.parameters + summary.peak)
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
        shapes = {blob: tuple(values.shape) for blob, values in self._inputs.items()}
        return NetCost(name, shapes, summary.trained, summary.macs, seconds * 1000, self._batch / seconds, peak, score)


def plot_costs(costs: list[NetCost], path: str | os.PathLike[str], x: str = "macs", title: str = "") -> None:
    """Draw scores against a cost, a named point a network.

    Args:
        x: one of `COSTS`.

    Raises:
        PlotError: matplotlib is not installed, or cannot write files of that kind.
        CaffeCompatError: no network has a score.
    """
    scored = [(_amount(cost, x), cost.score, cost.name) for cost in costs if cost.score is not None]
    if not scored:
        raise CaffeCompatError("a plot of scores against costs needs the score of a network at least")

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.scatter([cost for cost, _, _ in scored], [score for _, score, _ in scored], s=30)
        for cost, score, name in scored:
            axes.annotate(name, (cost, score), textcoords="offset points", xytext=(6, 4))
        axes.margins(0.15)
        axes.set(xlabel=COSTS[x], ylabel="score", title=title)
        axes.grid(alpha=0.3)

    draw(path, paint)


def _amount(cost: NetCost, x: str) -> float:
    return {"macs": cost.macs / 1e9, "milliseconds": cost.milliseconds, "parameters": cost.parameters / 1e6}[x]
