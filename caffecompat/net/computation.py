"""A graph of layers as a torch module: its children are the layers, and it computes by code written for the graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from caffecompat.net.graph import Graph
from caffecompat.net.layer import NetLayer
from caffecompat.net.module import make_module
from caffecompat.net.replaced import adopt, require_own_layers
from caffecompat.net.shortcuts import Shortcuts, find_shortcuts

__all__ = ["Computation", "Tops"]

Tops = dict[str, Tensor]
Code = Callable[..., Tops]


class Computation(nn.Module):
    """What torch sees of a net: children, code, device, copies and pickles.

    Args:
        graph: its layers have what computes or feeds them.
        device: where their parameters are; None for where torch makes them.

    Attributes:
        name: of the net.
        graph, layers, graph_module, fed: see :class:`caffecompat.Net`.
    """

    # Declared here, for a layer may have none of these names in the module.
    name: str
    graph: Graph
    graph_module: fx.GraphModule
    layers: list[NetLayer]
    fed: list[str]

    def __init__(self, name: str, graph: Graph, device: str | None) -> None:
        super().__init__()
        self.name = name
        self.graph = graph
        self.layers = graph.layers
        self._like = torch.empty(0, device=device)  # of the net's device and type
        self._shortcuts = Shortcuts(find_shortcuts(graph, graph.layers))
        self._code: Code | None = None  # runs in the place of the graph's
        self._fed_from_sources = [layer for layer in graph.layers if layer.source is not None]
        self._write_graph_module()
        self.training = self.graph_module.training

    def _write_graph_module(self) -> None:
        """Write the graph as code, which runs on the net's own children; a child itself it must not be."""
        declared = (name for cls in type(self).__mro__ for name in inspect.get_annotations(cls))
        reserved = {*dir(type(self)), *self.__dict__, *declared}
        module, self.fed = make_module(self.name, self.graph, self.layers, taken=reserved)
        if not self._modules:
            self._modules.update(module._modules)
        module._modules = self._modules
        object.__setattr__(self, "graph_module", module)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in self._modules:
            self._follow_child(name)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._follow_child(name)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """As torch's; a layer's name gives it another module (see :meth:`require_own_layers`)."""
        super().add_module(name, module)
        self._follow_child(name)

    def _follow_child(self, name: str) -> None:
        """Notice that a child is another one than before."""
        for layer in self.layers:
            if layer.child == name and layer.module is not None and self._modules.get(name) is not layer.module:
                self._shortcuts = self._shortcuts.without(layer)
                adopt(layer, self._modules.get(name))

    def require_own_layers(self) -> None:
        """Make sure that the net computes with Caffe's layers, where blobs and files of weights need them.

        Children may be replaced, as in ``net.fc = nn.Linear(500, 5)``: the net computes with the new one, and
        ``parameters`` and ``state_dict`` have it.

        Raises:
            CaffeCompatError: a child was replaced by another module than such a layer with such blobs, or removed, or
                one with parameters was added.
        """
        require_own_layers(self.layers, self._modules)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles are made of: the sources stay here, and the code is written again."""
        state = self.__dict__ | {"_fed_from_sources": [], "_code": None}
        del state["graph_module"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._write_graph_module()

    @property
    def code(self) -> str:
        """The computation as Python code, a line a layer."""
        return str(self.graph_module.code)

    @property
    def device(self) -> torch.device:
        """Where the net's parameters are and where it computes."""
        return self._like.device

    # ----------------------------------------------------------------- running

    def compute(self, *fed: Tensor) -> Tops:
        """Run the graph's code, with layers that work in place, or two as one, where nobody looks at what is lost."""
        self._shortcuts.update()
        code = self._code if self._shortcuts.allowed else None  # else somebody wants to see every blob
        return (code or self.run_code)(*fed)

    def compile_code(self, *, cuda_graphs: bool = False) -> None:
        """From now on compute by what torch.compile makes of the graph; other random numbers are drawn then.

        Where it cannot, one line in the log says so, and the graph is computed as before. The first pass takes longer.

        Args:
            cuda_graphs: on a GPU, replay the kernels of a pass as one; for fed blobs of fixed shapes.
        """
        from caffecompat.net.compiled import CompiledCode  # loads torch's compiler

        self._code = CompiledCode(self.graph, cuda_graphs=cuda_graphs and self.device.type == "cuda")

    def run_code(self, *fed: Tensor) -> Tops:
        """The graph's code, run on the net's own children."""
        tops: Tops = type(self.graph_module).forward(self, *fed)
        return tops

    def allow_inplace(self, allowed: bool) -> None:
        """Let layers write over bottoms that nobody else needs, or be one; off for whoever wants to see every blob."""
        self._shortcuts.allow(allowed)

    @property
    def inplace_layers(self) -> list[NetLayer]:
        """The layers that may write over their bottoms."""
        return self._shortcuts.in_place

    # ---------------------------------------------------- devices and types

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Computation:
        """What ``to``, ``double`` and the like do to every parameter; those that layers share stay shared."""
        super()._apply(fn, recurse)
        self._like = fn(self._like)
        for layer in self.layers:
            for slot in layer.slots:
                if slot.owner is not None and slot.parameter is not slot.owner.parameter:
                    slot.share(slot.owner.parameter)
        return self
