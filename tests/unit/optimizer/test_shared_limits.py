"""Full boilers and fuses: what the others leave is exact, and whole schedules find their places."""

from __future__ import annotations

import numpy as np
import pytest

from bench.planner.instances import make_house, with_boiler
from contracts.planning import PlanningProblem
from services.optimizer.core.checker import check_plan
from services.optimizer.core.choose import settle
from services.optimizer.core.decomposition import _Decomposition
from services.optimizer.core.generation import LEAST, MOST, Stabilised
from services.optimizer.core.house import compile_house
from services.optimizer.core.planner import plan


def boiler_house(capacity_w: float, seed: int, coupled: bool = False, **changes) -> PlanningProblem:
    """Six rooms over 16 hours that share `capacity_w`; their heaters together want about 5.5 kW."""
    house = make_house(6, (900,) * 64, coupled=coupled, ev=False, seed=seed, **changes)
    return with_boiler(house, capacity_w)


def generated(problem: PlanningProblem) -> _Decomposition:
    """The columns of a house after some rounds."""
    run = _Decomposition(compile_house(problem), None)
    run.generate(Stabilised(run._first_duals()), 4, 1e-3)
    return run


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize(("capacity_w", "seed"), [(3800.0, 3), (3800.0, 4), (4200.0, 4)])
def test_a_full_boiler_is_shared_out_without_going_beyond_it(capacity_w, seed, coupled):
    problem = boiler_house(capacity_w, seed, coupled)
    made = plan(problem)
    assert check_plan(problem, made).ok
    assert made.steps_down == ()
    assert made.cost.limits_eur == pytest.approx(0.0, abs=1e-6)
    assert made.gap_fraction < (0.12 if coupled else 0.1)


def test_crowded_prices_say_what_a_schedule_costs_the_house():
    """Without battery and sun the house's cost is linear but for the boiler, so prices are exact."""
    house = boiler_house(3000.0, 3, battery=False)
    run = generated(house.model_copy(update={"pv_w": (0.0,) * house.steps}))
    master, room = run.master, 2
    others = {other: 1 for other in range(6) if other != room}
    solution = master.solve({**others, room: 0})[0]
    raw = master.prices(solution.duals, np.zeros(6))
    prices = master.crowded(raw, solution.duals, others)
    costs = master.costs_at(room, prices)
    true = [
        master.solve({**others, room: pick})[0].objective for pick in range(costs.size)
    ]
    assert np.ptp(true) > 1.0
    np.testing.assert_allclose(costs - costs[0], np.array(true) - true[0], atol=1e-6)


def test_free_rooms_pay_the_dual_or_what_is_sure_to_go_beyond():
    run = generated(boiler_house(3000.0, 3))
    master = run.master
    duals = np.zeros(master.base.rows)
    rows = master.site.group_rows[0]
    duals[rows[:32]] = -50.0
    raw = master.prices(duals, np.zeros(6))
    picked = {0: 0, 1: 0, 3: 0}
    prices = master.crowded(raw, duals, picked)
    power = np.array([room.power_kw for room in master.house.rooms])
    load = sum(power[r] * master.columns[r][pick].relay for r, pick in picked.items())
    sure = 20.0 * 0.25 * (np.maximum(power[2] - (3.0 - load), 0) - np.maximum(load - 3.0, 0))
    expected = np.maximum(sure, np.where(np.arange(64) < 32, 50.0 * power[2], 0.0))
    np.testing.assert_allclose(prices.on_cost_eur[2], expected, atol=1e-9)
    assert (prices.on_cost_eur[0] == raw.on_cost_eur[0]).all()


def test_settling_never_costs_and_ends_where_no_room_gains():
    run = generated(boiler_house(3800.0, 3))
    start = [3] * 6
    before = run.master.solve(dict(enumerate(start)))[0].objective
    picked, settled, solves = settle(run.master, start, run.price_one)
    objective = settled.objective
    assert objective < before - 1.0
    assert solves > 6
    assert run.master.solve(dict(enumerate(picked)))[0].objective == pytest.approx(objective)
    for room in range(6):
        for pick in range(len(run.master.columns[room])):
            trial = {**dict(enumerate(picked)), room: pick}
            assert run.master.solve(trial)[0].objective > objective - 1e-3 * abs(objective)


def test_prices_stay_near_the_best_ones_while_others_disappoint():
    best, own = np.array([1.0, 1.0]), np.array([2.0, 0.0])
    asked = Stabilised(best)
    asked.heard(10.0)
    asked.move(own)
    np.testing.assert_allclose(asked.duals, LEAST * best + (1 - LEAST) * own)
    distance = [np.abs(asked.duals - best).max()]
    for _ in range(12):
        asked.heard(5.0)
        asked.move(own)
        distance.append(np.abs(asked.duals - best).max())
    assert (np.diff(distance) <= 1e-12).all()
    assert distance[-1] == pytest.approx(1 - MOST)
    assert (asked.best_duals == best).all()
    asked.heard(11.0)
    assert asked.best == 11.0
    asked.move(own)
    assert np.abs(asked.duals - asked.best_duals).max() > 0.1 * np.abs(own - best).max()


def test_rooms_that_need_scarce_hours_least_leave_them():
    """One answer at a time ends further above the bound: nobody gives way first."""
    assert plan(boiler_house(3400.0, 3)).gap_fraction < 0.06


def test_rooms_choose_again_beside_a_car_that_charges_whole():
    """At a tight fuse the car's least current costs 0.3 % more when the rooms do not know of it."""
    house = make_house(8, (1800,) * 48, seed=2)
    grid = house.grid.model_copy(update={"import_limit_w": 7000.0})
    problem = house.model_copy(update={"grid": grid})
    made = plan(problem)
    assert check_plan(problem, made).ok
    assert made.gap_fraction < 0.0045
