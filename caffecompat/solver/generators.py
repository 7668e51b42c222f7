"""Random generators that a run remembers: torch's, those of `random` and numpy, and those that a user's layer owns."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from caffecompat.resumable import State, generator_state, restore_generator

__all__ = ["GlobalGenerators", "OwnGenerators", "TorchGenerators"]


class TorchGenerators:
    """What layers, fillers and DummyData draw from."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def state(self) -> State:
        state = {"cpu": torch.get_rng_state()}
        return state | {"cuda": torch.cuda.get_rng_state(self._device)} if self._device.type == "cuda" else state

    def restore(self, state: State) -> list[str]:
        torch.set_rng_state(torch.as_tensor(state["cpu"]))
        if self._device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(torch.as_tensor(state["cuda"]), self._device)
        if (self._device.type == "cuda") == ("cuda" in state):
            return []
        return [f"the run was on another kind of device than {self._device}; what layers draw there differs"]


class GlobalGenerators:
    """What the code of users draws from."""

    def state(self) -> State:
        _, numbers, gauss = random.getstate()
        return {"random": {"numbers": numbers, "gauss": gauss}, "numpy": np.random.get_state(legacy=False)}

    def restore(self, state: State) -> list[str]:
        random.setstate((3, tuple(state["random"]["numbers"]), state["random"]["gauss"]))
        np.random.set_state(state["numpy"])
        return []


class OwnGenerators:
    """Those that the code of a user's layer made for itself: attributes of its object, and variables of its module.

    Args:
        code: the object.
    """

    def __init__(self, code: object) -> None:
        self._code = code

    def state(self) -> State:
        """The state of each, by name."""
        return {name: _state(generator) for name, generator in self._found()}

    def restore(self, state: State) -> list[str]:
        """Let each go on from there; remarks on those that are not in it."""
        remarks = []
        for name, generator in self._found():
            if name in state:
                _restore(generator, state[name])
            else:
                remarks.append(f"{name} is not in it, and stays as it is")
        return remarks

    def _found(self) -> Iterator[tuple[str, Any]]:
        module = sys.modules.get(type(self._code).__module__)
        for prefix, owner in (("self.", self._code), ("", module)):
            for name, value in list(getattr(owner, "__dict__", {}).items()):
                if isinstance(value, _KINDS) and not isinstance(value, random.SystemRandom):
                    yield prefix + name, value


_KINDS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)


def _state(generator: Any) -> Any:
    if isinstance(generator, random.Random):
        return generator_state(generator)
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state() if isinstance(generator, torch.Generator) else generator.get_state(legacy=False)


def _restore(generator: Any, state: Any) -> None:
    if isinstance(generator, random.Random):
        restore_generator(generator, state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    else:
        generator.set_state(torch.as_tensor(state) if isinstance(generator, torch.Generator) else state)
