"""Which engine computes a net faster on a CPU: as it was measured with the most similar net of a table.

The table, ``measured.json``, is what ``tools/bench/bench_inference.py --write-table`` measured. Nets are alike whose
work is of the same kinds, in like shares, and of like size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from caffecompat.layers import Layer
from caffecompat.layers.convolution import Convolution, Deconvolution
from caffecompat.layers.inner_product import InnerProduct
from caffecompat.layers.layer import Shape
from caffecompat.layers.normalization import LRN
from caffecompat.net import Net

__all__ = ["TABLE", "Measured", "Work", "faster_engine", "work_of"]

TABLE = Path(__file__).with_name("measured.json")
_BLOCK = 8  # channels that onnxruntime's convolutions take at once
_PASS = 30  # multiply-accumulates that a core does while a value goes through memory
_PER_DECADE = 0.25  # how much a tenfold size tells nets apart, where wholly different kinds are 2


@dataclass(frozen=True)
class Work:
    """What a forward pass is made of.

    Attributes:
        macs: multiply-accumulates, with those that passing other layers' tops through memory takes the time of.
        shares: of `macs` by kind; they sum to 1.
    """

    macs: float
    shares: Mapping[str, float]

    def distance(self, other: Work) -> float:
        """How unlike two are; 0 for the same."""
        kinds = self.shares.keys() | other.shares.keys()
        apart = sum(abs(self.shares.get(kind, 0.0) - other.shares.get(kind, 0.0)) for kind in kinds)
        return apart + _PER_DECADE * abs(math.log10(self.macs / other.macs))


@dataclass(frozen=True)
class Measured:
    """A row of the table: a net at a batch, and what a pass took.

    Attributes:
        net: its name.
        batch: pictures in a pass.
        macs, shares: as of :class:`Work`.
        milliseconds: median by engine.
    """

    net: str
    batch: int
    macs: float
    shares: Mapping[str, float]
    milliseconds: Mapping[str, float]

    @property
    def work(self) -> Work:
        return Work(self.macs, self.shares)

    @property
    def faster(self) -> str:
        """The engine that took less."""
        return min(self.milliseconds, key=self.milliseconds.__getitem__)

    def as_json(self) -> dict[str, object]:
        """For the table's file."""
        return asdict(self)


def work_of(net: Net) -> Work:
    """What a pass of a net costs, for the shapes that it has now."""
    sums: dict[str, float] = {}
    for layer in net.layers:
        if layer.module is None:
            continue
        bottoms = [net.value_shapes[value] for value in layer.known_bottoms]
        tops = [net.value_shapes[value] for value in layer.top_values]
        kind, macs = _kind(layer.module, bottoms), float(layer.module.macs(bottoms, tops))
        if kind == "other":
            macs = float(_PASS * sum(map(math.prod, tops)))
        sums[kind] = sums.get(kind, 0.0) + macs
    total = sum(sums.values()) or 1.0
    return Work(total, {kind: macs / total for kind, macs in sums.items() if macs})


def _kind(module: Layer, bottoms: list[Shape]) -> str:
    if isinstance(module, Convolution):
        channels, outputs = bottoms[0][module.axis], module.weight.shape[0]
        if module.group == channels and module.group > 1:
            return "depthwise convolution"
        if max(module.dilation) > 1:
            return "dilated convolution"
        blocks = outputs % (_BLOCK * module.group) == 0 and (channels % (_BLOCK * module.group) == 0 or channels <= 4)
        return "convolution in blocks of channels" if blocks else "convolution of other channels"
    if isinstance(module, Deconvolution):
        return "deconvolution"
    if isinstance(module, InnerProduct):
        return "inner product"
    return "LRN" if isinstance(module, LRN) else "other"


@cache
def _table() -> list[Measured]:
    rows = json.loads(TABLE.read_text(encoding="utf-8"))["rows"]
    return [Measured(**row) for row in rows]


def faster_engine(net: Net) -> str:
    """The engine that was faster with the net of the table that is most like this one at the shapes that it has now."""
    work = work_of(net)
    return min(_table(), key=lambda row: row.work.distance(work)).faster
