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
def test_intels_warmup_rises_straight_and_the_policy_goes_on_after_it(iteration, expected):
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


COSINE = {"lr_policy": "cosine", "max_iter": 10}
WARMED = {"warmup_iter": 2, "warmup_start_lr": 0.1}


@pytest.mark.parametrize(
    ("fields", "rates"),  # at iterations 0, 1, 2, 4, 6, 8, 10 and 12; cos(pi / 4) is 0.707107
    [
        (COSINE, [0.5, 0.487764, 0.452254, 0.327254, 0.172746, 0.0477458, 0, 0]),
        ({**COSINE, "lr_policy": "cos"}, [0.5, 0.487764, 0.452254, 0.327254, 0.172746, 0.0477458, 0, 0]),
        ({**COSINE, "min_lr": 0.1}, [0.5, 0.490211, 0.461803, 0.361803, 0.238197, 0.138197, 0.1, 0.1]),
        # after the warm-up t = (iteration - 2) / 8
        ({**COSINE, **WARMED}, [0.1, 0.3, 0.5, 0.426777, 0.25, 0.0732233, 0, 0]),
        ({**COSINE, **WARMED, "min_lr": 0.3}, [0.1, 0.3, 0.5, 0.470711, 0.4, 0.329289, 0.3, 0.3]),
    ],
)
def test_cosine(fields, rates):
    assert [_rate(iteration, **fields) for iteration in (0, 1, 2, 4, 6, 8, 10, 12)] == pytest.approx(rates, abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "rates"),  # at iterations 0, 1, 2, 3, 4 and 6, with two iterations of warm-up from 0.1 to 0.5
    [
        ({"lr_policy": "fixed"}, [0.1, 0.3, 0.5, 0.5, 0.5, 0.5]),
        ({"lr_policy": "step", "gamma": 0.5, "stepsize": 3}, [0.1, 0.3, 0.5, 0.25, 0.25, 0.125]),
        ({"lr_policy": "exp", "gamma": 0.5}, [0.1, 0.3, 0.125, 0.0625, 0.03125, 0.0078125]),
        ({"lr_policy": "inv", "gamma": 1.0, "power": 1.0}, [0.1, 0.3, 0.5 / 3, 0.125, 0.1, 0.5 / 7]),
        ({"lr_policy": "poly", "power": 1.0, "max_iter": 10}, [0.1, 0.3, 0.4, 0.35, 0.3, 0.2]),
        ({"lr_policy": "poly", "power": 1.0, "max_iter": 10, "min_lr": 0.25}, [0.1, 0.3, 0.45, 0.425, 0.4, 0.35]),
        ({"lr_policy": "sigmoid", "gamma": -1.0, "stepsize": 3}, [0.1, 0.3, 0.365529, 0.25, 0.134471, 0.0237129]),
        ({"lr_policy": "multifixed", "stagelr": [1.0, 2.0], "stageiter": [3, 9]}, [0.1, 0.3, 1, 1, 2, 2]),
        ({"lr_policy": "exp", "gamma": 0.5, "min_lr": 0.2}, [0.1, 0.3, 0.2, 0.2, 0.2, 0.2]),
    ],
)
def test_warmup_comes_before_every_policy_which_counts_from_iteration_0(fields, rates):
    found = [_rate(iteration, **fields, **WARMED) for iteration in (0, 1, 2, 3, 4, 6)]
    assert found == pytest.approx(rates, rel=1e-5)


def test_multistep_under_a_warmup_takes_the_steps_it_missed_one_an_iteration():
    fields = {"lr_policy": "multistep", "gamma": 0.5, "stepvalue": [1, 2, 5], **WARMED}
    param, state = pb.SolverParameter(base_lr=0.5, **fields), RateState()
    rates = [learning_rate(param, iteration, state) for iteration in range(6)]
    assert rates == pytest.approx([0.1, 0.3, 0.25, 0.125, 0.125, 0.0625])


@pytest.mark.parametrize("warmup", [10, 11])
def test_cosine_needs_iterations_after_the_warmup(warmup):
    problem = check_policy(pb.SolverParameter(**COSINE, warmup_iter=warmup))[0]
    assert problem.startswith("lr_policy 'cosine'") and f"warmup_iter {warmup} must be less than max_iter 10" in problem


def test_unknown_policy_names_the_known_ones():
    param = pb.SolverParameter(lr_policy="linear")
    assert "fixed, step" in check_policy(param)[0]
    with pytest.raises(CaffeCompatError, match="'linear'"):
        learning_rate(param, 0, RateState())


@pytest.mark.parametrize(
    ("policy", "missing"), [("step", "stepsize"), ("poly", "max_iter"), ("cos", "max_iter"), ("", "lr_policy")]
)
def test_missing_numbers_are_named(policy, missing):
    assert missing in check_policy(pb.SolverParameter(lr_policy=policy))[0]
