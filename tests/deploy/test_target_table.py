"""Tables of targets' limits: well made, found, extended; conditions that can do nothing but compare."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from caffecompat.deploy.targets.registry import TARGETS
from caffecompat.deploy.targets.table import VERDICTS, TargetError, TargetTable, evaluate, load_table, table_names

ALL = [name.split("-", 1) for name in table_names()]


def test_the_newest_stands_first() -> None:
    assert load_table("dpu").version == "3.5" and load_table("tidl").version == "2025-05"
    with pytest.raises(TargetError, match="there is no target 'tpu'; there are dpu, tidl"):
        load_table("tpu")
    with pytest.raises(TargetError, match=r"target 'dpu' has no version '9'; there are 3.5, 1.4"):
        load_table("dpu", "9")


@pytest.mark.parametrize(("target", "version"), ALL)
def test_a_table_is_well_made(target: str, version: str) -> None:
    table = load_table(target, version)
    assert (table.target, table.version) == (target, version)
    for section in (table.layers, table.operators, {"otherwise": table.model}):
        for kind, cases in section.items():
            if isinstance(cases, str):
                assert cases in section
                continue
            for case in cases:
                _check_case(table, case)
            assert "when" not in cases[-1] or "when" not in section["otherwise"][-1]
            assert all("when" in case for case in cases[:-1]), f"{kind}: a case that nothing reaches"
    used = {name for section in (table.layers, table.operators) for cases in section.values() if isinstance(cases, list)
            for case in cases for name in case.get("limits", ()) if isinstance(name, str)}  # fmt: skip
    assert used == set(table.limits)


def _check_case(table: TargetTable, case: dict) -> None:
    assert set(case) <= {"when", "verdict", "text", "source", "limits", "replaced", "remedy"}
    assert case["verdict"] in VERDICTS and case["source"] in table.documents and case["text"]
    _check_condition(case.get("when", "True"))
    assert ("remedy" in case) == (case["verdict"] in ("cpu", "refused"))
    for limit in table.limits_of(case):
        assert set(limit) <= {"need", "else", "text", "source", "remedy"}
        assert ("remedy" in limit) == (limit["else"] in ("cpu", "refused"))
        assert limit["else"] in (*VERDICTS, "warn")
        assert limit.get("source", case["source"]) in table.documents
        _check_condition(limit["need"])


def _check_condition(condition: str) -> None:
    try:
        evaluate(condition, {})
    except TargetError as problem:
        assert "is no condition" not in str(problem)  # a fact that is missing here is none


def test_files_are_json_and_packed() -> None:
    names = [name.partition("-") for name in table_names()]
    assert {target for target, _, _ in names} == TARGETS.keys()
    for target, _, version in names:
        json.loads((files(f"caffecompat.deploy.targets.{target}") / f"{version}.json").read_text())


def test_an_extension_keeps_what_it_does_not_say() -> None:
    old, new = load_table("dpu", "1.4"), load_table("dpu", "3.5")
    assert old.constants["pool_kernel"] == 8 and new.constants["pool_kernel"] == 256
    assert old.layers["Convolution"] == new.layers["Convolution"] and old.title != new.title


@pytest.mark.parametrize(
    ("condition", "holds"),
    [("a + 1 == 3 and not b", True), ("a in (1, 5)", False), ("ceil(a / 16) <= 1 or b", True), ("max(a, 7) % 2", 1)],
)
def test_conditions(condition: str, holds: object) -> None:
    assert evaluate(condition, {"a": 2, "b": False}) == holds


@pytest.mark.parametrize(
    "condition", ["a.real", "open('x')", "[x for x in a]", "(lambda: 1)()", "a[0]", "a =", "c > 1"]
)
def test_what_is_no_condition(condition: str) -> None:
    with pytest.raises(TargetError, match=re.escape(repr(condition))):
        evaluate(condition, {"a": 2})
