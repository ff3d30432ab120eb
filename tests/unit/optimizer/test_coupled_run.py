"""Coupled houses: what is chosen beside frozen neighbours is read and priced in the true house."""

from __future__ import annotations

import numpy as np
import pytest

from bench.planner.instances import make_house, with_boiler
from services.optimizer.core.coupled_bound import coupled_bound
from services.optimizer.core.coupled_run import CoupledRun
from services.optimizer.core.generation import relaxed_duals
from services.optimizer.core.house import compile_house
from services.optimizer.core.lp_rung import place
from services.optimizer.core.planner import WarmStart, plan
from services.optimizer.core.rounding import round_relays
from services.optimizer.core.trajectories import simulate

STEPS = (900,) * 16 + (3600,) * 16


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_duties_begin_where_the_house_truly_is(seed, monkeypatch):
    """Frozen neighbours would put the rooms elsewhere, and the duties behind would cost more."""
    problem = make_house(6, STEPS, coupled=True, two_node=True, seed=seed)
    run = CoupledRun(compile_house(problem))
    run._freeze(run.joint.simulate(run.relaxation.duty))
    picked = run.offer(round_relays(run.house, run.relaxation.air_c, 0.8))
    relays = run.read(picked)
    columns = [run.master.columns[room][pick] for room, pick in enumerate(picked)]
    true = simulate(run.house, relays)
    for room, end in enumerate(run.ends(relays)):
        np.testing.assert_allclose(end, true[room][16], atol=1e-9)
    assert np.abs(columns[2].end_c - true[2][16]).max() > 1e-3
    cost = place(run.house, relays).objective_eur
    monkeypatch.setattr(run, "ends", lambda relays: [column.end_c for column in columns])
    assert cost < place(run.house, run.read(picked)).objective_eur - 1e-4


@pytest.mark.parametrize("two_node", [False, True])
@pytest.mark.parametrize("factor", [-3.0, 0.0, 0.3, 3.0])
def test_the_bound_holds_whatever_the_duties_pay_for_warm_rooms(factor, two_node):
    """Behind the relay steps the master has prices of its own, and not those of the relaxation."""
    problem = make_house(4, STEPS, coupled=True, two_node=two_node, ev=False, seed=1)
    run = CoupledRun(compile_house(problem))
    cost = run.run(3, 1, certify=False).placed.objective_eur
    duals = relaxed_duals(run.master, run.relaxation)
    duals[np.concatenate(run.master.tail_rows).ravel()] *= factor
    prices = run.master.prices(duals, np.zeros(4))
    bound = coupled_bound(
        run.house, run.pricers, run.master.base.dual_bound(duals), prices, run.prices, run.reach,
        run._air(), run.best_columns(prices), cost,
    )
    assert bound is not None
    assert bound <= cost + 1e-6


def test_a_plan_that_follows_itself_is_never_dearer():
    """The old plan is a plan still; with other rounding it may not be found again."""
    problem = with_boiler(make_house(6, (900,) * 64, coupled=True, ev=False, seed=1), 3800.0)
    first = plan(problem)
    again = plan(problem, WarmStart(first))
    assert again.expected_cost_eur <= first.expected_cost_eur + 1e-6
