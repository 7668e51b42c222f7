"""Rates at chosen iterations, from the formulas of Caffe's comments."""

from __future__ import annotations

import math

import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.schema import pb
from caffecompat.solver.lr_policy import RateState, check_policy, learning_rate


def _rate(iteration: int, **fields: object) -> float:
    return learning_rate(pb.SolverParameter(base_lr=0.5, **fields), iteration, RateState())


@pytest.mark.parametrize(
    ("fields", "iteration", "expected"),
    [
        ({"lr_policy": "fixed"}, 1000, 0.5),
        ({"lr_policy": "step", "gamma": 0.1, "stepsize": 30}, 29, 0.5),
        ({"lr_policy": "step", "gamma": 0.1, "stepsize": 30}, 60, 0.005),
        ({"lr_policy": "exp", "gamma": 0.9}, 3, 0.5 * 0.9**3),
        ({"lr_policy": "inv", "gamma": 0.25, "power": 0.5}, 12, 0.5 * (1 + 0.25 * 12) ** -0.5),
        ({"lr_policy": "poly", "power": 2.0, "max_iter": 10}, 5, 0.125),
        ({"lr_policy": "poly", "power": 2.0, "max_iter": 10}, 12, 0.0),
        ({"lr_policy": "sigmoid", "gamma": -0.5, "stepsize": 4}, 6, 0.5 / (1 + math.exp(0.5 * 2))),
    ],
)
def test_formula(fields, iteration, expected):
    assert _rate(iteration, **fields) == pytest.approx(expected, rel=1e-6)


STAGES = {"lr_policy": "multifixed", "stagelr": [0.001, 0.01, 0.003], "stageiter": [520, 16000, 24000]}


@pytest.mark.parametrize(
    ("iteration", "expected"),
    [
        (0, 0.001),
        (519, 0.001),
        (520, 0.001),  # stageiter is the last iteration of its stage
        (521, 0.01),
        (16000, 0.01),
        (16001, 0.003),
        (24000, 0.003),
        (24001, 0.003),  # after the last stage its rate stays
        (10**6, 0.003),
    ],
)
def test_multifixed(iteration, expected):
    assert _rate(iteration, **STAGES) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("iteration", "expected"), [(0, 0.1), (1, 0.2), (2, 0.3), (3, 0.4), (4, 0.5 * 0.1**2), (7, 0.5 * 0.1**3)]
)
def test_intels_warmup_rises_straight_and_the_policy_goes_on_behind_it(iteration, expected):
    fields = {"lr_policy": "step", "gamma": 0.1, "stepsize": 2, "warmup_iter": 4, "warmup_start_lr": 0.1}
    assert _rate(iteration, **fields) == pytest.approx(expected, rel=1e-6)


def test_warmup_of_multifixed_rises_to_base_lr():
    assert _rate(5, **STAGES, warmup_iter=10) == pytest.approx(0.25)


@pytest.mark.parametrize("stages", [{}, {"stagelr": [1.0]}, {"stagelr": [1.0, 2.0], "stageiter": [5]}])
def test_stages_of_multifixed_must_have_a_rate_each(stages):
    problem = check_policy(pb.SolverParameter(lr_policy="multifixed", **stages))[0]
    assert "as many stagelr as stageiter" in problem


def test_poly_without_power_is_constant():
    assert _rate(9999, lr_policy="poly", max_iter=10000) == 0.5


def test_multistep_takes_one_step_an_iteration():
    param = pb.SolverParameter(base_lr=1, lr_policy="multistep", gamma=0.5, stepvalue=[2, 3])
    state = RateState()
    # Starting late (a resumed run whose state was lost) catches up one step at a time.
    assert [learning_rate(param, iteration, state) for iteration in (5, 6, 7)] == [0.5, 0.25, 0.25]
    assert state.current_step == 2


def test_plateau_waits_from_the_last_event():
    param = pb.SolverParameter(base_lr=1, lr_policy="plateau", gamma=0.1, plateau_winsize=[10, 20])
    state = RateState(iter_last_event=5)
    assert learning_rate(param, 14, state) == 1
    assert learning_rate(param, 15, state) == pytest.approx(0.1)
    assert (state.current_step, state.iter_last_event) == (1, 15)


def test_unknown_policy_names_the_known_ones():
    param = pb.SolverParameter(lr_policy="cosine")
    assert "fixed, step" in check_policy(param)[0]
    with pytest.raises(CaffeCompatError, match="'cosine'"):
        learning_rate(param, 0, RateState())


@pytest.mark.parametrize(("policy", "missing"), [("step", "stepsize"), ("poly", "max_iter"), ("", "lr_policy")])
def test_missing_numbers_are_named(policy, missing):
    assert missing in check_policy(pb.SolverParameter(lr_policy=policy))[0]
