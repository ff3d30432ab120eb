"""Few rooms behind a fuse, a phase or a peak: whole relays where fractions would fit."""

from __future__ import annotations

import numpy as np
import pytest

from bench.planner.instances import make_house, with_boiler, with_grid
from contracts.planning import PlanningProblem
from services.optimizer.core.checker import check_plan
from services.optimizer.core.decomposition import _Decomposition
from services.optimizer.core.generation import Stabilised
from services.optimizer.core.house import compile_house
from services.optimizer.core.planner import WorkBudget, plan

LIMITS = {
    "fuse": {"import_limit_w": 2200.0},
    "phase": {"phase_import_limit_w": 900.0},
    "peak": {"peak_price_eur_per_kw": 20.0},
}


def tight_house(limit: str, seed: int = 3, **changes) -> PlanningProblem:
    """Four rooms over 16 hours, without a car, behind one limit that binds."""
    return with_grid(make_house(4, (900,) * 64, ev=False, seed=seed, **changes), **LIMITS[limit])


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("seed", [3, 4])
def test_the_full_plan_is_no_dearer_than_the_rounded_relaxation(limit, seed):
    problem = tight_house(limit, seed)
    made, rounded = plan(problem), plan(problem, budget=WorkBudget(rung="lp_rounded"))
    assert check_plan(problem, made).ok
    assert made.rung == "full"
    assert made.expected_cost_eur <= rounded.expected_cost_eur + 1e-6


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("limit", ["fuse", "phase"])
def test_relays_that_do_not_fit_at_once_take_turns(limit, coupled):
    """Nothing but the relays can give way: what diving finds costs half as much again, or twice."""
    house = make_house(3, (1800,) * 32, ev=False, battery=False, outdoor_c=-8.0, coupled=coupled, seed=3)
    problem = with_grid(house, **LIMITS[limit])
    made, rounded = plan(problem), plan(problem, budget=WorkBudget(rung="lp_rounded"))
    assert check_plan(problem, made).ok
    assert made.expected_cost_eur < 0.7 * rounded.expected_cost_eur


@pytest.mark.parametrize("limit", LIMITS)
def test_beside_the_others_prices_say_what_a_schedule_costs_the_house(limit):
    """Exactly, where no battery moves and no sun is sold: but a peak counts once, its price in every step."""
    problem = tight_house(limit, battery=False)
    dark = problem.model_copy(update={"pv_w": (0.0,) * problem.steps})
    run = _Decomposition(compile_house(dark), None)
    run.generate(Stabilised(run._first_duals()), 4, 1e-3)
    master, rooms, picked = run.master, 4, [0] * 4
    room = max(range(rooms), key=lambda r: len(master.columns[r]))
    solution, _, _ = master.solve(dict(enumerate(picked)))
    raw = master.prices(solution.duals, np.zeros(rooms))
    costs = master.costs_at(room, master.beside(raw, solution, room, picked))
    true = np.array([
        master.solve({**dict(enumerate(picked)), room: pick})[0].objective
        for pick in range(costs.size)
    ])
    change, promised = true - true[0], costs - costs[0]
    assert np.ptp(true) > 0.5
    if limit == "peak":
        assert (promised > change - 1e-6).all()
        assert (promised < change + 1e-6).any()
    else:
        np.testing.assert_allclose(promised, change, atol=1e-6)
    others = [r for r in range(rooms) if r != room]
    beside = master.beside(raw, solution, room, picked)
    np.testing.assert_array_equal(beside.on_cost_eur[others], raw.on_cost_eur[others])


def test_rooms_beside_neighbours_settle_from_the_best_plan_so_far():
    """From each correction's dive alone they end 6 % dearer."""
    steps = (900,) * 24 + (1800,) * 36 + (3600,) * 24
    house = make_house(8, steps, coupled=True, seed=2, outdoor_c=-1.5, ev=False)
    made = plan(with_grid(house, import_limit_w=3750.0))
    assert made.gap_fraction < 0.07


@pytest.mark.parametrize("rung", ["full", "lp_rounded", "rules"])
def test_a_relay_without_power_waits_behind_a_full_boiler_like_any_other(rung):
    """Overrides may take more than the boiler has; a room of 0 W is then asked for its share, too."""
    problem = with_boiler(make_house(3, (3600,) * 12, ev=False), 500.0)
    forced, idle, other = problem.rooms
    forced = forced.model_copy(update={"fixed_relay": (1,) * 12})
    still = idle.dynamics.model_copy(update={"heat_air_k": (0.0,) * 12})
    idle = idle.model_copy(update={"heater_w": 0.0, "dynamics": still})
    problem = problem.model_copy(update={"rooms": (forced, idle, other)})
    made = plan(problem, budget=WorkBudget(rung=rung))
    assert check_plan(problem, made).ok
    assert made.steps_down == ()
    assert sum(made.rooms[2].relay) == 0.0
