"""Which layers of a prototxt belong to a net's state: phase, level and stages (BVLC ``Net::FilterNet``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from caffecompat.arguments import as_names
from caffecompat.errors import CaffeCompatError
from caffecompat.net.problems import Problem
from caffecompat.schema import pb, write_text

__all__ = ["LeftOut", "filter_net", "left_out", "make_state", "unmet"]


def make_state(message: pb.NetParameter, phase: int, level: int | None, stages: Sequence[str]) -> pb.NetState:
    """The NetState of a net to be made: the prototxt's own `state` with the caller's wishes over it.

    `phase` always wins, `level` where given, `stages` are added (BVLC ``Net`` constructor).
    """
    state = pb.NetState()
    state.CopyFrom(message.state)
    state.phase = phase
    if level is not None:
        try:
            state.level = level
        except ValueError:
            raise CaffeCompatError(f"level {level}: expected a whole number that fits 32 bits") from None
    state.stage.extend(stage for stage in as_names(stages, "stages") if stage not in state.stage)
    return state


def unmet(state: pb.NetState, rule: pb.NetStateRule) -> str | None:
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


class LeftOut(NamedTuple):
    """Why a state leaves a layer out; the one that is least to be changed for is the smallest."""

    cost: int
    text: str


def left_out(layer: pb.LayerParameter, state: pb.NetState) -> LeftOut:
    """What the state would need for a layer that it leaves out, of its include rules the one nearest to it."""
    if not layer.include:
        rule = next((rule for rule in layer.exclude if unmet(state, rule) is None), None)
        shown = f" {{ {' '.join(write_text(rule).split())} }}" if rule is not None else ""
        return LeftOut(20, f"its rule exclude{shown} leaves it out of this phase and these stages")
    return min(_wanted(rule, state) for rule in layer.include)


def _wanted(rule: pb.NetStateRule, state: pb.NetState) -> LeftOut:
    """What a rule asks for that `state` is not; a stage is quicker to give than another phase."""
    parts, cost = [], 0
    if rule.HasField("phase") and rule.phase != state.phase:
        parts.append(f"phase {'TRAIN' if rule.phase == pb.TRAIN else 'TEST'}")
        cost += 10
    stages = [stage for stage in rule.stage if stage not in state.stage]
    if stages:
        parts.append(f"stage {', '.join(map(repr, stages))} (--stage {','.join(stages)})")
        cost += len(stages)
    low = rule.HasField("min_level") and state.level < rule.min_level
    if low or (rule.HasField("max_level") and state.level > rule.max_level):
        parts.append(f"level {rule.min_level if low else rule.max_level} (--level)")
        cost += 1
    parts += [f"no stage {stage!r}" for stage in rule.not_stage if stage in state.stage]
    return LeftOut(cost + sum(stage in state.stage for stage in rule.not_stage), f"only with {' and '.join(parts)}")


def filter_net(
    message: pb.NetParameter, state: pb.NetState, log: Callable[[str], None]
) -> tuple[pb.NetParameter, list[int], list[Problem]]:
    """Keep the layers whose include/exclude rules `state` satisfies.

    A layer is in unless an exclude rule holds or it has include rules none of
    which holds. Each failed rule is passed to `log`.

    Returns:
        The filtered NetParameter (with `state` in it), the index in `message` of
        each layer kept, and the problems found.
    """
    kept: list[int] = []
    problems: list[Problem] = []
    for index, layer in enumerate(message.layer):
        if layer.include and layer.exclude:
            problems.append(Problem(index, "has both include and exclude rules; keep one kind"))

        def holds(rule: pb.NetStateRule, name: str = layer.name) -> bool:
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
