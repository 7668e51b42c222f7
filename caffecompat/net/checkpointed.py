"""Activation checkpointing: the blobs inside of segments of the net are let go, and computed again for backward.

Of each segment memory holds what it reads and what others read of it. The numbers are those of a plain pass, bit for
bit: random numbers are drawn again from the same state, and statistics of batch normalization move once. Layers with
any other effect (losses, measures, Python layers, those that remember a state) lie between the segments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from caffecompat.layers.recomputation import recomputing
from caffecompat.net.graph import Graph
from caffecompat.net.layer import NetLayer, Shape, Value
from caffecompat.net.segments import Pairs, Segment, SegmentedCode, in_segments

__all__ = ["CheckpointedCode"]


class CheckpointedCode(SegmentedCode):
    """Computes a net in about as many segments as the root of its number of layers, of as many values each.

    Args:
        graph: of the net.
        joined: as of :func:`caffecompat.net.segments.in_segments`.
        shapes: of all values.

    Attributes:
        parted: layers of `joined` that are in another segment all the same.
    """

    def __init__(self, graph: Graph, joined: Pairs, shapes: Mapping[Value, Shape]) -> None:
        layers = [layer for layer in graph.layers if layer.module is not None]
        sizes = {value: math.prod(shape) for value, shape in shapes.items()}
        total = sum(sizes.get(value, 0) for layer in layers for value in layer.top_values)
        super().__init__(graph, in_segments(graph, joined, sizes, total / max(1, math.isqrt(len(layers)))))
        at = {layer.index: number for number, segment in enumerate(self.segments) for layer in segment.layers}
        self.parted: list[NetLayer] = [layer for layer, maker in joined if at[layer.index] != at[maker.index]]

    def run(self, segment: Segment, *reads: Tensor) -> tuple[Tensor, ...]:
        if not (segment.pure and torch.is_grad_enabled()):
            return segment.compute(*reads)
        made: tuple[Tensor, ...] = checkpoint(segment.compute, *reads, use_reentrant=False, context_fn=_contexts)
        return made


def _contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), recomputing()
