"""A net under torch.compile, which falls back to plain computation where that fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from caffecompat import glog
from caffecompat.net.graph import Graph
from caffecompat.net.segments import Segment, SegmentedCode, in_segments
from caffecompat.wording import few

if TYPE_CHECKING:
    from caffecompat.net.computation import Tops

__all__ = ["CompiledCode"]

CompileGraph = Callable[[fx.GraphModule, list[Tensor]], Callable[..., Any]]


class CompiledCode(SegmentedCode):
    """Computes a net compiled but for the layers that break the graph.

    These look at values (labels that are checked), remember something, or run a user's code; one line in the log names
    them. Where anything cannot be compiled (no C++ compiler), one line says why, and this and all later passes are
    computed without.

    Args:
        graph: of the net.
        cuda_graphs: replay the kernels of a segment as one, on a GPU.
        compile_graph: makes the code of a graph; None is torch's inductor.
    """

    def __init__(self, graph: Graph, *, cuda_graphs: bool = False, compile_graph: CompileGraph | None = None) -> None:
        super().__init__(graph, in_segments(graph, (), {}, math.inf))
        self._cuda_graphs = cuda_graphs
        self._compile_graph = compile_graph or self._by_inductor
        self._failed = False
        self._compiled = {
            segment: torch.compile(segment.compute, backend=self._compile) for segment in self.segments if segment.pure
        }
        left = [
            f"{each.name!r} ({each.type})" for segment in self.segments if not segment.pure for each in segment.layers
        ]
        more = f"; not the layers {few(left, 8)}, which look at values or remember some" if left else ""
        glog.info(f"torch.compile: the first passes compile the net{more}")

    def __call__(self, *fed: Tensor) -> Tops:
        if not self._cuda_graphs:
            return super().__call__(*fed)
        torch.compiler.cudagraph_mark_step_begin()
        # Of the caller's own: the next pass writes over the recorded ones.
        return {blob: top.clone() for blob, top in super().__call__(*fed).items()}

    def run(self, segment: Segment, *reads: Tensor) -> tuple[Tensor, ...]:
        if self._failed or not segment.pure:
            return segment.compute(*reads)
        made: tuple[Tensor, ...] = self._compiled[segment](*reads)
        return made

    def _compile(self, graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        """What torch calls for each graph: its code, plain where it cannot be compiled."""
        if not self._failed:
            try:
                return self._compile_graph(graph, inputs)
            except Exception as problem:  # whatever a compiler meets, the net can be computed without it
                self._failed = True
                reason = str(problem).strip().split("\n", 1)[0]
                glog.info(f"torch.compile: not used, as it fails: {type(problem).__name__}: {reason}")
        plain: Callable[..., Any] = graph.forward
        return plain

    def _by_inductor(self, graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        from torch._inductor.compile_fx import compile_fx

        made: Any = compile_fx(graph, inputs, config_patches={"triton.cudagraphs": self._cuda_graphs})
        code: Callable[..., Any] = made
        return code
