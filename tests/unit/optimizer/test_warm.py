"""A plan that follows another: what it takes over, and when it asks anew."""

from __future__ import annotations

import numpy as np
import pytest

from bench.planner.instances import make_house, with_wild_prices
from services.optimizer.core import generation
from services.optimizer.core.decomposition import _Decomposition
from services.optimizer.core.generation import Stabilised
from services.optimizer.core.house import compile_house
from services.optimizer.core.planner import WarmStart, plan

STEPS = (900,) * 32 + (3600,) * 8


@pytest.fixture
def relaxed(monkeypatch):
    """The houses whose relaxation was solved."""
    houses, real = [], generation.solve_relaxation

    def told(house):
        houses.append(house)
        return real(house)

    monkeypatch.setattr(generation, "solve_relaxation", told)
    return houses


def test_beside_a_good_old_plan_nobody_asks_for_the_relaxation(relaxed):
    problem = make_house(6, STEPS)
    cold = plan(problem)
    assert len(relaxed) == 1
    warm = plan(problem, WarmStart(cold))
    assert len(relaxed) == 1
    assert warm.steps_down == ()
    assert warm.expected_cost_eur <= cold.expected_cost_eur + 1e-6
    assert warm.gap_fraction < 0.01


def test_where_the_old_prices_are_far_off_the_relaxation_says_better_ones(relaxed):
    """The same rooms an hour after the prices went wild."""
    problem = make_house(6, (900,) * 96)
    warm = plan(with_wild_prices(problem), WarmStart(plan(problem)))
    assert len(relaxed) == 2
    assert warm.steps_down == ()
    assert warm.gap_fraction < 0.02


def test_an_old_schedule_that_is_no_longer_allowed_is_left_out(relaxed):
    """A relay that has just gone off, where the old plan has it on: its room begins anew."""
    problem = make_house(6, STEPS)
    cold = plan(problem)
    room = next(i for i, r in enumerate(cold.rooms) if r.relay[0] == 1.0)
    held = problem.rooms[room].model_copy(update={"initial_in_state_s": 0})
    rooms = (*problem.rooms[:room], held, *problem.rooms[room + 1 :])
    warm = plan(problem.model_copy(update={"rooms": rooms}), WarmStart(cold))
    assert warm.work.warm_columns == 5
    assert len(relaxed) == 2
    assert warm.rooms[room].relay[:2] == (0.0, 0.0)


def test_the_duties_behind_the_relays_are_those_of_the_chosen_schedules():
    run = _Decomposition(compile_house(make_house(6, STEPS)), None)
    run.generate(Stabilised(run._first_duals()), 4, 1e-3)
    picked, solution = run.choose([])
    columns = [run.master.columns[room][pick] for room, pick in enumerate(picked)]
    alone = run.master.solve_tail(columns)
    assert solution.objective == pytest.approx(alone.objective)
    duties = [alone.values[tail.relay] for tail in run.master.tail]
    relays = run.read(picked, solution)
    assert np.ptp(duties) > 0.5
    np.testing.assert_allclose(relays[:, 32:], duties, atol=1e-9)
    for room, column in enumerate(columns):
        np.testing.assert_array_equal(relays[room, :32], column.relay)
