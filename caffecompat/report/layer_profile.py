"""Where the time of a training goes, layer by layer, as torch's profiler sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from caffecompat.formats.atomic import atomic_together
from caffecompat.net import Net

__all__ = ["LayerProfile", "LayerProfiler", "layer_table"]

_PREFIX = "layer "
_BACKWARD = "autograd::engine::evaluate_function"


@dataclass
class LayerProfile:
    """Milliseconds of one pass that a layer takes: on the GPU where there is one, else on the processor."""

    name: str
    type: str
    forward: float = 0.0
    backward: float = 0.0


class LayerProfiler:
    """Records a net's passes, each layer under its name: "layer conv1".

    The net computes as it does without: layers that work in place, or two as one, do so. Two that are one call count
    under the name of the first. What torch.compile made of the net has no layers any more.

    >>> from caffecompat import Net
    >>> net = Net("train_val.prototxt", "TEST", log=False)
    >>> profiler = LayerProfiler(net)
    >>> profiler.start()
    >>> _ = net({blob: torch.ones(shape) for blob, shape in net.fed_shapes.items()})
    >>> [layer.name for layer in profiler.stop(passes=1)]
    ['conv', 'fc', 'loss']
    """

    def __init__(self, net: Net) -> None:
        self._net = net
        self._cuda = net.device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._cuda else [])]
        self._profile = profile(activities=activities)

    def start(self) -> None:
        """Begin; torch looks at all that this process does."""
        for layer in self._net.layers:
            if layer.module is not None:
                layer.module.forward = _named(layer.module.forward, _PREFIX + layer.name)
        self._profile.start()

    def stop(self, passes: int, trace: str | None = None) -> list[LayerProfile]:
        """End; the layers' milliseconds a pass.

        Args:
            passes: how many there were.
            trace: the file for what a trace viewer shows (chrome://tracing, Perfetto).
        """
        if self._cuda:
            torch.cuda.synchronize(self._net.device)
        self._profile.stop()
        found = {
            _PREFIX + layer.name: LayerProfile(layer.name, layer.type)
            for layer in self._net.layers
            if layer.module is not None
        }
        for layer in self._net.layers:
            if layer.module is not None:
                del layer.module.forward
        if trace is not None:
            with atomic_together(trace) as (temporary,):
                self._profile.export_chrome_trace(temporary)
        events: Any = self._profile.events() or []
        owners: dict[int, LayerProfile] = {}  # by the numbers that a backward function shares with its forward one
        for event in events:
            if event.name in found:
                found[event.name].forward += self._microseconds(event) / 1000 / passes
                owners.update((number, found[event.name]) for number in _numbers(event))
        for event in events:
            owner = owners.get(event.sequence_nr)
            if owner is not None and event.name.startswith(_BACKWARD):
                owner.backward += self._microseconds(event) / 1000 / passes
        return list(found.values())

    def _microseconds(self, event: Any) -> float:
        return float(event.device_time_total if self._cuda else event.cpu_time_total)


def _named(forward: Callable[..., Any], name: str) -> Callable[..., Any]:
    def named(*bottoms: Any, **more: Any) -> Any:
        with record_function(name):
            return forward(*bottoms, **more)

    return named


def _numbers(event: Any) -> Iterable[int]:
    """The sequence numbers of all that an event has within it."""
    for child in event.cpu_children:
        if child.sequence_nr >= 0:
            yield child.sequence_nr
        yield from _numbers(child)


def layer_table(layers: Sequence[LayerProfile], milliseconds: float) -> str:
    """The layers as lines of text, the slowest first, and what of the whole time is in none of them.

    Args:
        milliseconds: of a pass in all, with data and updates.
    """
    rows = sorted((layer for layer in layers if _total(layer)), key=_total, reverse=True)
    rows.append(LayerProfile("other", "data, updates", milliseconds - sum(map(_total, rows))))
    name, kind = (max(map(len, column)) for column in zip(*((row.name, row.type) for row in rows), strict=True))
    lines = [f"{'layer':{name}}  {'type':{kind}}  {'forward':>10}  {'backward':>10}  share"]
    for row in rows:
        times = f"{row.forward:7.3f} ms  {row.backward:7.3f} ms  {_total(row) / milliseconds:5.1%}"
        lines.append(f"{row.name:{name}}  {row.type:{kind}}  {times}")
    return "\n".join(lines)


def _total(layer: LayerProfile) -> float:
    return layer.forward + layer.backward
