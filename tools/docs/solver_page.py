"""The reference of solvers: fields, learning-rate policies, update rules, fillers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from field_tables import field_table
from page_text import code, plain, prose, table

from caffecompat.layers import fillers
from caffecompat.schema import dialects
from caffecompat.solver import lr_policy, updates

__all__ = ["solver_page"]

# What each policy computes, in Caffe's words (sgd_solver.cpp of the fork that has it).
_FORMULAS = {
    "fixed": "base_lr",
    "step": "base_lr gamma^floor(iter / stepsize)",
    "exp": "base_lr gamma^iter",
    "inv": "base_lr (1 + gamma iter)^-power",
    "multistep": "base_lr gamma^(how many stepvalues iter has reached)",
    "poly": "base_lr (1 - iter / max_iter)^power",
    "sigmoid": "base_lr / (1 + exp(-gamma (iter - stepsize)))",
    "plateau": "base_lr gamma^(how often the loss has not fallen for plateau_winsize iterations)",
    "multifixed": "stagelr of the stage that stageiter says",
    "cosine": "min_lr + (base_lr - min_lr) (1 + cos(pi t)) / 2, t from 0 after the warm-up to 1 at max_iter",
}


def solver_page() -> Iterator[tuple[str, str]]:
    """Path and text of the page."""
    assert set(_FORMULAS) | {"cos"} == set(lr_policy.POLICIES)
    policies = [[code(name), code(formula)] for name, formula in _FORMULAS.items()]
    rules = [[code(rule.name), str(rule.slots), plain(_first_line(rule.step))] for rule in updates.RULES.values()]
    text = (
        "# Solver\n\n"
        "The fields of a `solver.prototxt`, and the rules that they choose; `train --set FIELD=VALUE` changes "
        "any of them. This page is made from `proto/caffe.proto` and the code.\n\n"
        "## Learning-rate policies\n\n"
        f"{prose(lr_policy.__doc__)}\n"
        f"{table(['lr_policy', 'rate before iteration iter'], policies)}\n"
        "## Types\n\nUpdate rules, after BVLC's `sgd_solver.cpp` and its siblings; `type` names one of them. g is a "
        "gradient with its regularization, h the history.\n\n"
        f"{table(['type', 'history blobs a parameter', 'step'], rules)}\n"
        "## Fillers\n\n"
        f"How fresh blobs get their values: {', '.join(map(code, fillers.filler_types()))}.\n\n"
        f"{field_table('FillerParameter')}\n"
        "## Fields\n\n"
        f"{plain(dialects.message_note('SolverParameter').text)}\n\n{field_table('SolverParameter')}\n"
        "### NetState\n\n"
        f"{plain(dialects.message_note('NetState').text)}\n\n{field_table('NetState')}"
    )
    yield "reference/solver.md", text


def _first_line(function: object) -> str:
    return (inspect.getdoc(function) or "").split("\n")[0]
