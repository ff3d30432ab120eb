"""Scenarios: first decisions are shared, the objective is the mix of mean and tail."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.planning import ObjectiveWeights, Scenario
from services.optimizer.core.checker import check_plan
from services.optimizer.core.costs import tail_mean
from services.optimizer.core.house import compile_house
from services.optimizer.core.lp_rung import place
from services.optimizer.core.planner import plan
from tests.unit.optimizer.small_houses import small_house


def _with_scenarios(seed, cvar_weight=0.0, count=3):
    problem = small_house(seed, rooms=2, steps=12)
    rng = np.random.default_rng(seed)
    futures = tuple(
        Scenario(
            probability=1.0 / count,
            pv_w=tuple(np.array(problem.pv_w) * rng.uniform(0.2, 1.5)),
            base_load_w=tuple(np.array(problem.base_load_w) * rng.uniform(0.6, 1.6)),
        )
        for _ in range(count)
    )
    return problem.model_copy(update={
        "scenarios": futures, "weights": ObjectiveWeights(cvar_weight=cvar_weight),
    })


@pytest.mark.parametrize("seed", [1, 2, 3, 6])
@pytest.mark.parametrize("cvar_weight", [0.0, 0.5])
def test_scenario_plans_are_checked_and_bounded(seed, cvar_weight):
    problem = _with_scenarios(seed, cvar_weight)
    made = plan(problem)
    assert check_plan(problem, made).faults == []
    assert made.bound_eur <= made.expected_cost_eur + 1e-9


def test_one_certain_scenario_is_the_deterministic_problem():
    problem = small_house(2, rooms=2, steps=12)
    same = problem.model_copy(update={"scenarios": (
        Scenario(probability=1.0, pv_w=problem.pv_w, base_load_w=problem.base_load_w),)})
    alone, single = plan(problem), plan(same)
    assert single.expected_cost_eur == pytest.approx(alone.expected_cost_eur, abs=1e-6)
    assert single.cost.total_eur == pytest.approx(alone.cost.total_eur, abs=1e-6)


def test_risk_aversion_never_lowers_the_objective_of_equal_relays():
    neutral, averse = _with_scenarios(2, 0.0), _with_scenarios(2, 1.0)
    relays = np.zeros((2, 12))
    mean = place(compile_house(neutral), relays).objective_eur
    tail = place(compile_house(averse), relays).objective_eur
    assert tail >= mean - 1e-9


def test_tail_mean_by_hand():
    totals, chance = np.array([1.0, 5.0, 3.0]), np.array([0.5, 0.25, 0.25])
    assert tail_mean(totals, chance, 0.25) == pytest.approx(5.0)
    assert tail_mean(totals, chance, 0.5) == pytest.approx(4.0)
    assert tail_mean(totals, chance, 1.0) == pytest.approx(2.5)


def test_a_limit_may_be_as_dear_as_one_likes_where_the_tail_counts():
    """The tail's own variables reach as far as the costs do."""
    problem = _with_scenarios(3, cvar_weight=1.0)
    grid = problem.grid.model_copy(
        update={"import_limit_w": 200.0, "limit_penalty_eur_per_kwh": 1e6}
    )
    made = plan(problem.model_copy(update={"grid": grid}))
    assert made.steps_down == ()
    assert made.cost.limits_eur > 1e5
