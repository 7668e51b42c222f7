"""NetState rules: phase, level, stages, include and exclude."""

import pytest

from caffecompat.net.filter import filter_net, make_state
from caffecompat.schema import pb
from tests.net.nets import message


def kept(rules: str, *, phase: int = pb.TRAIN, level: int | None = None, stages: tuple[str, ...] = ()) -> bool:
    net = message(f'layer {{ name: "a" {rules} }}')
    filtered, indices, problems = filter_net(net, make_state(net, phase, level, stages), lambda line: None)
    assert not problems
    assert [layer.name for layer in filtered.layer] == ["a"] * len(indices)
    return bool(indices)


@pytest.mark.parametrize(
    ("rules", "given", "expected"),
    [
        ("", {}, True),
        ("include { phase: TRAIN }", {}, True),
        ("include { phase: TRAIN }", {"phase": pb.TEST}, False),
        ("exclude { phase: TRAIN }", {}, False),
        ("exclude { phase: TEST }", {}, True),
        ("include { min_level: 2 }", {"level": 1}, False),
        ("include { min_level: 2 }", {"level": 2}, True),
        ("include { max_level: 2 }", {"level": 3}, False),
        ("exclude { min_level: 2 max_level: 4 }", {"level": 3}, False),
        ('include { stage: "a" }', {}, False),
        ('include { stage: "a" }', {"stages": ("a", "b")}, True),
        ('include { stage: "a" stage: "b" }', {"stages": ("a",)}, False),
        ('include { not_stage: "a" }', {"stages": ("a",)}, False),
        ('include { stage: "a" } include { phase: TEST }', {"phase": pb.TEST}, True),
        ('exclude { stage: "a" } exclude { phase: TEST }', {"phase": pb.TEST}, False),
    ],
)
def test_rules(rules: str, given: dict, expected: bool) -> None:
    assert kept(rules, **given) is expected


def test_state_of_the_prototxt_counts_and_phase_is_the_callers() -> None:
    net = message('state { phase: TEST level: 3 stage: "a" }')
    state = make_state(net, pb.TRAIN, None, ("b", "a"))
    assert (state.phase, state.level, list(state.stage)) == (pb.TRAIN, 3, ["a", "b"])
    assert make_state(net, pb.TRAIN, 0, ()).level == 0


def test_include_and_exclude_together_is_a_problem() -> None:
    net = message('layer { name: "a" include { phase: TRAIN } exclude { phase: TEST } }')
    _, _, problems = filter_net(net, make_state(net, pb.TRAIN, None, ()), lambda line: None)
    assert [problem.layer for problem in problems] == [0]


def test_failed_rules_are_told_in_caffes_words() -> None:
    net = message('layer { name: "acc" include { phase: TEST } }')
    lines: list[str] = []
    filter_net(net, make_state(net, pb.TRAIN, None, ()), lines.append)
    assert lines == ["The NetState phase (0) differed from the phase (1) specified by a rule in layer acc"]
