"""Tables of what inference hardware can run: read from the files ``targets/TARGET/VERSION.json``.

A table is JSON::

    {"target": "dpu", "version": "3.5", "title": ..., "extends": "dpu-3.0" (optional),
     "documents": {"A2": "title, address"},
     "constants": {"icp": 16},
     "limits": {"dense convolution": [limit, ...]},
     "layers": {"Convolution": [case, ...], "BN": "BatchNorm", "otherwise": [case]},
     "operators": {"Conv": [case, ...], ..., "otherwise": [case]},
     "model": [case]}

``layers`` judges layers of a net by the facts of ``facts``, ``operators`` the nodes of an ONNX graph and
``model`` the graph as a whole by those of ``operators``; "otherwise" stands for types that are not listed.
A case is ``{"when": condition, "verdict": ..., "text": ..., "source": "A2", "limits": [limit, ...]}``; the first whose
condition holds judges. A limit is ``{"need": condition, "else": verdict or "warn", "text", "source"}``, or the name of
a list of them under ``limits``; without a source it has the case's. What sends a layer to the CPU, or has it refused,
also has a ``"remedy"``: what to change about the net. A case with ``"replaced": true`` is one whose operators the
target's tools replace by their own. Conditions are Python's comparisons, ``and``/``or``/``not``/``in`` and arithmetic
over the facts and the constants; texts name facts in braces.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from caffecompat.errors import CaffeCompatError

__all__ = ["VERDICTS", "Judgment", "TargetError", "TargetTable", "evaluate", "load_table", "table_names"]

VERDICTS = ("left out", "runs", "rewritten", "cpu", "refused")  # the later wins where limits are broken

_FUNCTIONS = {"ceil": math.ceil, "floor": math.floor, "max": max, "min": min, "abs": abs, "len": len}
_ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.BinOp, ast.Add, ast.Sub, ast.Mult,
    ast.Div, ast.FloorDiv, ast.Mod, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn,
    ast.Name, ast.Load, ast.Constant, ast.Tuple, ast.List, ast.Call,
)  # fmt: skip

Facts = Mapping[str, Any]


class TargetError(CaffeCompatError):
    """There is no such target or version, or its table is not well made."""


@dataclass
class Judgment:
    """What a table says of a layer.

    Attributes:
        verdict: one of `VERDICTS`.
        reasons: (text, source), the source a key of the table's documents.
        warned: limits that do not change the verdict, likewise.
        replaced: the target's tools put their own operators in the place of the layer's.
        remedies: of a layer that the target does not run, what to change, one for each reason.
    """

    verdict: str
    reasons: list[tuple[str, str]] = field(default_factory=list)
    warned: list[tuple[str, str]] = field(default_factory=list)
    replaced: bool = False
    remedies: list[str] = field(default_factory=list)


@dataclass
class TargetTable:
    """One target's limits."""

    target: str
    version: str
    title: str
    documents: dict[str, str]
    constants: dict[str, Any]
    limits: dict[str, list[dict[str, Any]]]
    layers: dict[str, Any]
    operators: dict[str, Any]
    model: list[dict[str, Any]]

    def cases(self, kind: str) -> list[dict[str, Any]]:
        """The cases of a layer type, that of the types that are not listed included."""
        return _cases(self.layers, kind)

    def judge(self, facts: Facts) -> Judgment:
        """The verdict on a layer from its facts.

        Raises:
            TargetError: the table asks for something that is no fact of this layer.
        """
        return self._judge(self.cases(facts["type"]), facts)

    def judge_operator(self, facts: Facts) -> Judgment:
        """The verdict on a node of an ONNX graph; errors as of `judge`."""
        return self._judge(_cases(self.operators, facts["type"]), facts)

    def judge_model(self, facts: Facts) -> Judgment:
        """The verdict on an ONNX model as a whole; errors as of `judge`."""
        return self._judge(self.model, facts)

    def limits_of(self, case: dict[str, Any]) -> list[dict[str, Any]]:
        """The limits of a case, those included that it names."""
        named = case.get("limits", ())
        return [limit for entry in named for limit in (self.limits[entry] if isinstance(entry, str) else [entry])]

    def _judge(self, cases: list[dict[str, Any]], facts: Facts) -> Judgment:
        known = {**self.constants, **facts}
        for case in cases:
            if evaluate(case.get("when", "True"), known):
                break
        judgment = Judgment(case["verdict"], replaced=case.get("replaced", False))
        for limit in self.limits_of(case):
            if evaluate(limit["need"], known):
                continue
            judged = (limit["text"].format_map(known), limit.get("source", case.get("source", "")))
            if limit["else"] == "warn":
                judgment.warned.append(judged)
                continue
            judgment.reasons.append(judged)
            judgment.remedies += _remedy(limit, known)
            judgment.verdict = max(judgment.verdict, limit["else"], key=VERDICTS.index)
        if not judgment.reasons:
            judgment.reasons.append((case["text"].format_map(known), case.get("source", "")))
            judgment.remedies += _remedy(case, known)
        return judgment


def _remedy(judged: dict[str, Any], known: Facts) -> list[str]:
    """The remedy of a case or limit, if it has one, with the facts in it; lists of numbers as such."""
    texts = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in known.items()}
    return [judged["remedy"].format_map(texts)] if "remedy" in judged else []


def _cases(section: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    cases = section.get(kind, [])
    while isinstance(cases, str):
        cases = section[cases]
    return [*cases, *section["otherwise"]]


def evaluate(condition: str, known: Facts) -> Any:
    """The value of a condition over facts; nothing but arithmetic and comparisons is possible in one.

    Raises:
        TargetError: it is none, or names something unknown.
    """
    try:
        return eval(_compiled(condition), {"__builtins__": {}, **_FUNCTIONS}, dict(known))
    except (NameError, TypeError, ZeroDivisionError) as problem:
        raise TargetError(f"{condition!r} cannot be judged: {problem}") from None


@cache
def _compiled(condition: str) -> Any:
    try:
        tree = ast.parse(condition, mode="eval")
    except SyntaxError as problem:
        raise TargetError(f"{condition!r} is no condition: {problem.msg}") from None
    for node in ast.walk(tree):
        called = isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS)
        if called or not isinstance(node, _ALLOWED):
            raise TargetError(f"{condition!r} is no condition: it has a {type(node).__name__}")
    return compile(tree, "<condition>", "eval")


def table_names() -> list[str]:
    """``target-version`` of every table; of each target the newest first, and versions with a name last."""
    names = [
        f"{folder.name}-{entry.name.removesuffix('.json')}"
        for folder in _folder().iterdir()
        if folder.is_dir()
        for entry in folder.iterdir()
        if entry.name.endswith(".json")
    ]

    def named(name: str) -> tuple[str, bool]:
        target, _, version = name.partition("-")
        return target, not version[0].isdigit()

    return sorted(sorted(names, reverse=True), key=named)


def load_table(target: str, version: str | None = None) -> TargetTable:
    """The table of a target; the newest version where none is named.

    Raises:
        TargetError: there is none; those that there are are named.
    """
    known = table_names()
    matching = [name for name in known if name.partition("-")[0] == target]
    if not matching:
        targets = dict.fromkeys(name.partition("-")[0] for name in known)
        raise TargetError(f"there is no target {target!r}; there are {', '.join(targets)}")
    name = f"{target}-{version}" if version else matching[0]
    if name not in matching:
        versions = [other.partition("-")[2] for other in matching]
        raise TargetError(f"target {target!r} has no version {version!r}; there are {', '.join(versions)}")
    return _table(name)


@cache
def _table(name: str) -> TargetTable:
    return TargetTable(**_read(name))


def _read(name: str) -> dict[str, Any]:
    target, _, version = name.partition("-")
    table = json.loads((_folder() / target / f"{version}.json").read_text(encoding="utf-8"))
    base = table.pop("extends", None)
    if base is None:
        return dict(table)
    merged = _read(base)
    for key, value in table.items():
        merged[key] = {**merged[key], **value} if isinstance(value, dict) else value
    return merged


def _folder() -> Any:
    return files("caffecompat.deploy.targets")
