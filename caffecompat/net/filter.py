"""Which layers of a prototxt belong to a net's state: phase, level and stages (BVLC ``Net::FilterNet``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from caffecompat.net.problems import Problem
from caffecompat.schema import pb

__all__ = ["filter_net", "make_state", "unmet"]


def make_state(message: Any, phase: int, level: int | None, stages: Sequence[str]) -> Any:
    """The NetState of a net to be made: the prototxt's own `state` with the caller's wishes over it.

    `phase` always wins, `level` where given, `stages` are added (BVLC ``Net`` constructor).
    """
    state = pb.NetState()
    state.CopyFrom(message.state)
    state.phase = phase
    if level is not None:
        state.level = level
    state.stage.extend(stage for stage in stages if stage not in state.stage)
    return state


def unmet(state: Any, rule: Any) -> str | None:
    """Why `state` does not meet a NetStateRule, in the words of Caffe's log; None where it does."""
    if rule.HasField("phase") and rule.phase != state.phase:
        return f"The NetState phase ({state.phase}) differed from the phase ({rule.phase})"
    if rule.HasField("min_level") and state.level < rule.min_level:
        return f"The NetState level ({state.level}) is below the min_level ({rule.min_level})"
    if rule.HasField("max_level") and state.level > rule.max_level:
        return f"The NetState level ({state.level}) is above the max_level ({rule.max_level})"
    for stage in rule.stage:
        if stage not in state.stage:
            return f"The NetState did not contain stage '{stage}'"
    for stage in rule.not_stage:
        if stage in state.stage:
            return f"The NetState contained a not_stage '{stage}'"
    return None


def filter_net(message: Any, state: Any, log: Callable[[str], None]) -> tuple[Any, list[int], list[Problem]]:
    """Keep the layers whose include/exclude rules `state` satisfies.

    A layer is in unless an exclude rule holds or it has include rules none of
    which holds. Each failed rule is told to `log`.

    Returns:
        The filtered NetParameter (with `state` in it), the index in `message` of
        each layer kept, and the problems found.
    """
    kept: list[int] = []
    problems: list[Problem] = []
    for index, layer in enumerate(message.layer):
        if layer.include and layer.exclude:
            problems.append(Problem(index, "has both include and exclude rules; keep one kind"))

        def holds(rule: Any, name: str = layer.name) -> bool:
            reason = unmet(state, rule)
            if reason:
                log(f"{reason} specified by a rule in layer {name}")
            return reason is None

        included = not any(holds(rule) for rule in layer.exclude)
        if layer.include:
            included = any(holds(rule) for rule in layer.include)
        if included:
            kept.append(index)

    filtered = type(message)()
    filtered.CopyFrom(message)
    filtered.state.CopyFrom(state)
    if len(kept) < len(message.layer):
        del filtered.layer[:]
        filtered.layer.extend(message.layer[index] for index in kept)
    return filtered, kept, problems
