"""Running ranges of a net's blobs, as caffe-jacinto 0.17 takes them after each pass.

It reads the memory of every blob when the pass is over, so layers that work in place, and those whose top shares the
memory of a bottom, change the range of the blobs before them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from caffecompat.net.layer import Split, Step
from caffecompat.schema import pb

__all__ = ["BlobRanges", "value_range"]

_Range = tuple[np.float32, np.float32]
_LARGEST = np.finfo(np.float32).max


def value_range(values: Tensor) -> _Range:
    """Smallest and largest number, NaN left out; of none the largest float32 and minus that."""
    values = values.detach()
    if values.numel():
        low, high = (float(end) for end in torch.aminmax(values))
        if low != low:  # NaN
            values = values[~values.isnan()]
            low, high = (float(end) for end in torch.aminmax(values)) if values.numel() else (low, high)
        if low == low:
            return np.float32(low), np.float32(high)
    return np.float32(_LARGEST), np.float32(-_LARGEST)


class BlobRanges:
    """The running range of each blob of a net's steps.

    Args:
        update_factor: share of the latest pass in a range; the first pass makes all of it.
        expansion_factor: how much wider than what a pass shows a range is taken.
    """

    def __init__(self, steps: Sequence[Step], update_factor: float, expansion_factor: float) -> None:
        self._update, self._expansion = np.float32(update_factor), np.float32(expansion_factor)
        self._memory: dict[str, str] = {}  # blob -> the first blob with its memory
        self._last_writer: dict[str, tuple[Step, int]] = {}
        for step in steps:
            for slot, blob in enumerate(step.tops):
                shared = step.split_bottoms[0] if _shares_memory(step) else blob
                self._memory.setdefault(blob, self._memory.get(shared, shared))
                if not _is_view(step):
                    self._last_writer[self._memory[blob]] = step, slot
        self._latest: dict[str, _Range] = {}
        self._running: dict[str, _Range] = {}

    def see(self, step: Step, tops: Sequence[Tensor]) -> None:
        """Take the ranges of what a step made, as far as it is what the memory holds at the end of the pass."""
        for slot, (blob, top) in enumerate(zip(step.tops, tops, strict=False)):
            memory = self._memory[blob]
            if self._last_writer.get(memory) == (step, slot):
                self._latest[memory] = value_range(top)

    def see_fed(self, blob: str, values: Tensor) -> None:
        """Take the range of a blob that no layer computes, where the memory holds it until the end of the pass."""
        memory = self._memory[blob]
        if memory in self._last_writer and self._last_writer[memory][0].module is None:
            self._latest[memory] = value_range(values)

    def update(self, *, first: bool) -> None:
        """Let the running ranges follow the pass that is over."""
        new = np.float32(1) if first else self._update
        old = np.float32(1.0 - float(new))
        for memory, ends in self._latest.items():
            before = self._running.get(memory, (np.float32(0), np.float32(0)))
            with np.errstate(over="ignore", invalid="ignore"):
                low, high = (a * old + b * self._expansion * new for a, b in zip(before, ends, strict=True))
            self._running[memory] = low, high

    def of(self, blob: str) -> _Range:
        """The running range of a blob; (0, 0) before it was seen."""
        return self._running.get(self._memory[blob], (np.float32(0), np.float32(0)))


def _is_view(step: Step) -> bool:
    """Whether Caffe's layer writes nothing: its tops are the memory of its bottom."""
    if isinstance(step, Split) or step.type in ("Flatten", "Reshape"):
        return True
    return (step.type == "Concat" and len(step.bottoms) == 1) or (step.type == "Slice" and len(step.tops) == 1)


def _shares_memory(step: Step) -> bool:
    """Whether the tops have the memory of the first bottom; so has a plain sum in caffe-jacinto."""
    if _is_view(step):
        return True
    if isinstance(step, Split) or step.type != "Eltwise":
        return False
    eltwise = step.param.eltwise_param
    return eltwise.operation == pb.EltwiseParameter.SUM and all(factor == 1 for factor in eltwise.coeff)
