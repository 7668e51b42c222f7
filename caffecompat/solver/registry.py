"""All that a run must remember, besides weights and Caffe's own state, to go on exactly where it stopped.

One registry holds it: sources with their places, layers that keep something from pass to pass, random generators, the
solver's own numbers. Each part joins under a name that a person can read, by the protocol of `caffecompat.resumable`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from caffecompat import glog
from caffecompat.data import Source
from caffecompat.layers import Layer
from caffecompat.layers.python_layer import PythonLayer
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer
from caffecompat.resumable import Resumable, State
from caffecompat.schema import pb
from caffecompat.solver.generators import GlobalGenerators, OwnGenerators, TorchGenerators
from caffecompat.solver.ranks import ALONE, Ranks
from caffecompat.solver.updates import update_rule

__all__ = ["Registry", "Settings", "make_registry"]


class Registry:
    """The parts of a run that remember something, by name.

    Where several processes train, a file holds what the first one remembers, and of each other one those parts that are
    its own: what its layers keep and its random generators. All else is the same in all of them.
    """

    def __init__(self, ranks: Ranks = ALONE) -> None:
        self._ranks = ranks
        self._parts: dict[str, Resumable] = {}
        self._own: set[str] = set()
        self._others: list[dict[str, State]] = []
        self._marked: dict[str, State] | None = None
        self._failed: set[str] = set()

    def join(self, name: str, part: Resumable, *, own: bool = False) -> None:
        """Take a part in; what `restore` says of it begins with the name.

        Args:
            own: each process has another one.
        """
        while name in self._parts:
            name += " (again)"
        self._parts[name] = part
        if own:
            self._own.add(name)

    def mark(self) -> None:
        """An iteration begins here: until `unmark` this is where a run goes on, however far the iteration comes.

        What happens in it (a test, half of the passes) is done again by the run that goes on.
        """
        self._marked = self._states()

    def unmark(self) -> None:
        """The iteration is done: a run goes on from whatever is the case now."""
        self._marked = None

    def content(self, iteration: int) -> dict[str, Any]:
        """What `restore` takes, of arrays, numbers and texts alone."""
        content = {"iteration": iteration, "processes": self._ranks.size, "parts": self._stored()}
        return content | ({"others": self._others} if self._ranks.size > 1 else {})

    def collect(self) -> None:
        """Let the first process know what the others remember now, for its `content`; all call it."""
        if self._ranks.size > 1:
            own = {name: state for name, state in self._stored().items() if name in self._own}
            self._others = self._ranks.all(own)[1:]

    def _stored(self) -> dict[str, Any]:
        states = self._states() if self._marked is None else self._marked
        return {name: _storable(state) for name, state in states.items()}

    def restore(self, content: Mapping[str, Any]) -> list[str]:
        """Let all parts go on from there; remarks on all that cannot go on exactly."""
        self._marked = None
        remarks = []
        states, rank, same = content.get("parts"), self._ranks.rank, content.get("processes") == self._ranks.size
        if not same:
            remarks.append(
                f"the run had {content.get('processes')} processes, it has {self._ranks.size}: data goes on from its "
                "place; what layers draw at random differs"
            )
        if not isinstance(states, Mapping):
            return [*remarks, "holds no parts of a run"]
        if rank:
            states = {name: state for name, state in states.items() if name not in self._own}
            states |= content["others"][rank - 1] if same else {}
        for name, part in self._parts.items():
            if name in states:
                remarks += [f"{name}: {remark}" for remark in _restored(part, states[name])]
            elif self._state(name, part) and not (rank and name in self._own):
                remarks.append(f"{name}: is not in it, and starts from the beginning")
        return remarks + [f"{name}: is in it, and not in this run" for name in states if name not in self._parts]

    def _states(self) -> dict[str, State]:
        states = {name: self._state(name, part) for name, part in self._parts.items()}
        return {name: state for name, state in states.items() if state}

    def _state(self, name: str, part: Resumable) -> State:
        """Its state; empty, with one warning, where a user's code fails: no snapshot may be lost by that."""
        try:
            return part.state()
        except Exception as problem:
            if name not in self._failed:
                self._failed.add(name)
                glog.warning(
                    f"{name}: its state cannot be saved; a resumed run starts it from the beginning: {_said(problem)}"
                )
            return {}


def _restored(part: Resumable, state: Any) -> Sequence[str]:
    try:
        return list(part.restore(state) or ())
    except Exception as problem:
        return [f"cannot take over what is in it ({_said(problem)})"]


def _said(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"


def _storable(value: Any) -> Any:
    """The same with arrays and numbers for tensors."""
    if isinstance(value, Tensor):
        value = value.detach()
        if not value.dim():
            return value.item()
        return (value.float() if value.dtype in (torch.float16, torch.bfloat16) else value).cpu().numpy()
    if isinstance(value, Mapping):
        return {key: _storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not (value and isinstance(value[0], int)):
        return [_storable(item) for item in value]
    return value


def make_registry(net: Net, test_nets: Sequence[Net], own: Mapping[str, Resumable], ranks: Ranks = ALONE) -> Registry:
    """The registry of a run.

    Args:
        net, test_nets: their sources and layers join, and what the latter have of parameters for themselves.
        own: the solver's own parts, by name.
        ranks: the processes of the run.
    """
    registry = Registry(ranks)
    trained = {id(slot.parameter) for layer in net.layers for slot in layer.slots}
    for name, each in [("train net", net)] + [(f"test net #{k}", each) for k, each in enumerate(test_nets)]:
        for layer in each.layers:
            part = _part(layer)
            named = f"{name}, layer {layer.name!r} ({layer.type})"
            if part is not None:
                registry.join(named, part, own=not isinstance(part, Source) or part.own)
            code = _users_code(layer)
            if code is not None:
                registry.join(f"{named}, generators of its own", OwnGenerators(code), own=True)
        if each is not net:
            registry.join(f"{name}, parameters of its own", _OwnParameters(each, trained))
    for name, part in own.items():
        registry.join(name, part)
    registry.join("generators of torch", TorchGenerators(net.device), own=True)
    if any(_users_code(layer) for each in (net, *test_nets) for layer in each.layers):
        registry.join("generators of random and numpy", GlobalGenerators(), own=True)
    return registry


def _part(layer: NetLayer) -> Resumable | None:
    """What of a layer may remember something."""
    if isinstance(layer.source, Source):
        return layer.source
    module = layer.module
    if module is not None and (module.remembers or type(module).state is not Layer.state):
        return module
    return None


def _users_code(layer: NetLayer) -> object | None:
    """The object of a user's class that computes a layer, and may draw from any generator; None for layers of ours."""
    module = layer.module
    if isinstance(module, PythonLayer):
        return module.instance
    return None if module is None or type(module).__module__.startswith("caffecompat.") else module


class _OwnParameters:
    """The parameters of a test net that its train net has not; no weight file holds them."""

    def __init__(self, net: Net, trained: set[int]) -> None:
        self._slots = {
            f"{layer.name}[{slot.index}]": slot
            for layer in net.layers
            for slot in layer.slots
            if id(slot.parameter) not in trained and slot.owner is None
        }

    def state(self) -> State:
        # Only statistics change, by a test's forward pass.
        return {name: slot.tensor() if slot.learned else slot.tensor().clone() for name, slot in self._slots.items()}

    def restore(self, state: State) -> list[str]:
        remarks = [f"{name} is not in it" for name in self._slots if name not in state]
        for name, slot in self._slots.items():
            values = torch.as_tensor(state[name]) if name in state else slot.tensor()
            if values.shape == slot.tensor().shape:
                slot.tensor().copy_(values)
            else:
                remarks.append(f"{name} had shape {tuple(values.shape)}, it has {tuple(slot.tensor().shape)}")
        return remarks


class Settings:
    """What of a solver's settings gives the rest another meaning: each run sets it, and a change is worth a remark."""

    def __init__(self, param: pb.SolverParameter) -> None:
        self._param = param

    def state(self) -> State:
        """The settings."""
        return {"iter_size": self._param.iter_size, "type": update_rule(self._param).name}

    def restore(self, state: State) -> list[str]:
        """A remark for each that differs."""
        now, remarks = self.state(), []
        if state["iter_size"] != now["iter_size"]:
            remarks.append(f"iter_size was {state['iter_size']}, it is {now['iter_size']}; no record is left out")
        if state["type"] != now["type"]:
            remarks.append(
                f"type was {state['type']!r}, it is {now['type']!r}, which takes the other's history for its own; "
                "--weights with the snapshot's .caffemodel starts without one"
            )
        return remarks
