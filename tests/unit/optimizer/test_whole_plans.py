"""Sun and prices below nothing at noon: whole relays, cars and loads are searched for together."""

from __future__ import annotations

import datetime as dt
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.planner.instances import START, make_house
from contracts.planning import DeferrableLoad, LoadSegment, PlanningProblem
from services.optimizer.core.checker import check_plan
from services.optimizer.core.costs import evaluate
from services.optimizer.core.decisions import read_decisions
from services.optimizer.core.decomposition import _Decomposition
from services.optimizer.core.generation import Stabilised
from services.optimizer.core.house import compile_house
from services.optimizer.core.linear_model import LinearModel
from services.optimizer.core.lp_rung import place
from services.optimizer.core.merit_order import cost_between
from services.optimizer.core.planner import plan
from services.optimizer.core.site_rows import build_site
from services.optimizer.core.whole_choices import solve_whole, whole_bound
from tests.unit.optimizer.test_bound import exact_optimum


def spring_house(rooms: int, steps: int = 12, seed: int = 1, car: bool = True) -> PlanningProblem:
    """From 11 h on: a price that falls below nothing, more sun than one relay takes, a car, a dishwasher."""
    problem = make_house(
        rooms, (1800,) * steps, battery=False, ev=False, outdoor_c=8.0, seed=seed, minimum_s=0
    )
    rng = np.random.default_rng(seed)
    hour = 0.5 * np.arange(steps)
    buy = 0.12 - 0.18 * np.exp(-((hour - 2.0) ** 2) / 2.0) + rng.normal(0, 0.005, steps)
    sun = 2500.0 * np.exp(-((hour - 2.0) ** 2) / 6.0) * rng.uniform(0.7, 1.0, steps)
    end = START + dt.timedelta(hours=steps / 2)
    cars = make_house(1).evs if car else ()
    cars = tuple(one.model_copy(update={
        "arrival": START, "departure": end, "target_kwh": 4.0, "max_kwh": 6.0, "min_power_w": 1380.0,
        "max_power_w": 3680.0,
    }) for one in cars)  # fmt: skip
    washing = DeferrableLoad(
        name="dishwasher", earliest=START, deadline=end, skip_penalty_eur=1.0,
        segments=(LoadSegment(duration_s=1800, power_w=2000.0),),
    )
    grid = problem.grid.model_copy(update={
        "buy_price_eur_per_kwh": tuple(buy), "sell_price_eur_per_kwh": tuple(buy - 0.05),
        "import_limit_w": 6000.0, "peak_price_eur_per_kw": 0.2,
    })  # fmt: skip
    return problem.model_copy(update={
        "grid": grid, "pv_w": tuple(sun), "evs": cars, "deferrable_loads": (washing,) if car else (),
    })  # fmt: skip


@pytest.mark.parametrize("seed", [0, 3, 4, 6])
def test_the_plan_is_close_to_the_exact_optimum_and_the_bound_below_it(seed):
    problem = spring_house(2 + seed % 2, seed=seed)
    low, high = exact_optimum(problem)
    made = plan(problem)
    assert check_plan(problem, made).faults == []
    assert made.bound_eur <= high + 1e-6
    assert low - 1e-5 <= made.expected_cost_eur <= high + 0.01


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 4)), min_size=1, max_size=6),
    st.integers(0, 12), st.integers(0, 6),
)
def test_the_cheapest_kilowatts_are_taken_first(ways, start, power):
    """Against kilowatts taken one by one; beyond all ways the dearest goes on."""
    price, capacity = (np.array(column, dtype=float)[:, None] for column in zip(*ways, strict=True))
    each = sorted(p for p, c in ways for _ in range(c)) + [max(p for p, _ in ways)] * 20
    cost = cost_between(price, capacity, np.array([float(start)]), float(power))
    assert cost[0] == pytest.approx(sum(each[start : start + power]))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_beside_the_others_a_relay_pays_for_sun_what_it_would_sell_for(seed):
    """Exactly: a part of its power is sun, the rest is bought."""
    problem = spring_house(3, seed=seed, car=False)
    grid = problem.grid.model_copy(update={"peak_price_eur_per_kw": 0.0})
    run = _Decomposition(compile_house(problem.model_copy(update={"grid": grid})), None)
    _beside_is_exact(run)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_car_that_is_off_gives_no_way(seed):
    problem = spring_house(3, seed=seed)
    grid = problem.grid.model_copy(update={"peak_price_eur_per_kw": 0.0})
    run = _Decomposition(compile_house(problem.model_copy(update={"grid": grid})), None)
    run.master.whole = {int(column): 0.0 for column in np.flatnonzero(run.master.base.vectors()[5])}
    run.master.whole[run.master.site.loads[0].skip] = 1.0
    _beside_is_exact(run)


def _beside_is_exact(run: _Decomposition) -> None:
    duals = Stabilised(run._first_duals())
    run.generate(duals, 6, 1e-3)
    run._vary(duals.best_duals, 1.0)
    master, picked = run.master, [0, 0, 0]
    for room in range(3):
        solution, _, _ = master.solve(dict(enumerate(picked)))
        prices = master.beside(master.prices(solution.duals, np.zeros(3)), solution, room, picked)
        promised = master.costs_at(room, prices)
        true = np.array([
            master.solve({**dict(enumerate(picked)), room: pick})[0].objective
            for pick in range(promised.size)
        ])
        assert promised.size > 2
        np.testing.assert_allclose(promised - promised[0], true - true[0], atol=1e-6)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_among_all_schedules_the_best_whole_choice_is_found_or_known(seed):
    """Against every choice, placed by itself."""
    house = compile_house(spring_house(2, seed=seed))
    run = _Decomposition(house, None)
    duals = Stabilised(run._first_duals())
    run.generate(duals, 6, 1e-3)
    run._vary(duals.best_duals, 1.0)
    master = run.master
    costs = {}
    for picks in itertools.product(*(range(len(columns)) for columns in master.columns)):
        costs[picks] = place(house, run.relays(list(picks)), nodes=1000)
    ranked = sorted(costs, key=lambda picks: costs[picks].objective_eur)
    best, worst = costs[ranked[0]], costs[ranked[-1]]
    found = solve_whole(master, list(ranked[-1]), worst.whole, worst.objective_eur)
    assert found is not None
    assert found[1].objective == pytest.approx(best.objective_eur, rel=1e-3)
    assert costs[tuple(found[0])].objective_eur == pytest.approx(best.objective_eur, rel=1e-3)
    assert solve_whole(master, list(ranked[0]), best.whole, best.objective_eur) is None


def test_sun_that_a_battery_would_burn_is_curtailed():
    """Where feeding in is closed and cycles cost nothing, both are as cheap; only one can be carried out."""
    problem = make_house(1, (900,) * 12, ev=False)
    grid = problem.grid.model_copy(update={"export_min_price_eur_per_kwh": 5.0})
    battery = problem.battery.model_copy(update={"wear_eur_per_kwh": 0.0, "initial_soc_fraction": 0.5})
    house = compile_house(problem.model_copy(update={
        "grid": grid, "battery": battery, "pv_w": (9000.0,) * 12,
    }))  # fmt: skip
    model, relays = LinearModel(), np.zeros((1, 12))
    site = build_site(model, house)
    columns, values = site.scenarios[0], model.solve("glop").values.copy()
    step = int(np.flatnonzero(values[columns.curtailed] > 0.5)[-1])
    plain = evaluate(house, house.nominal, read_decisions(house, site, 0, values, relays))
    values[columns.charge[step]] += 2.0
    values[columns.discharge[step]] += 2.0 * battery.charge_efficiency * battery.discharge_efficiency
    values[columns.curtailed[step]] -= 2.0 - 2.0 * 0.95 * 0.95
    burning = evaluate(house, house.nominal, read_decisions(house, site, 0, values, relays))
    assert burning.cost["total_eur"] == pytest.approx(plain.cost["total_eur"], abs=1e-6)
    assert burning.export_kw.max() < 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_with_whole_choices_is_below_the_optimum_at_any_prices(seed):
    problem = spring_house(2, seed=seed)
    _, optimum = exact_optimum(problem)
    run = _Decomposition(compile_house(problem), None)
    run.run(24, 1e-3)
    rng = np.random.default_rng(seed)
    for spread in (0.0, 0.02, 0.2):
        duals = run.proof * (1.0 + spread * rng.normal(size=run.proof.size))
        run.done.bound_eur = -np.inf
        run._certify(duals)
        plain = run.done.bound_eur
        run._certify_whole()
        assert plain <= run.done.bound_eur <= optimum + 1e-6


@pytest.mark.parametrize("step_s", [(1800,) * 32, (1800,) * 24 + (3600,) * 6])
def test_what_rooms_pay_the_site_gets_in_winter_and_before_a_tail_of_duties(step_s):
    """Where relays are often on and cars fit, the plan lies so near the bound that no payment may be wrong."""
    house = compile_house(make_house(3, step_s, outdoor_c=-4.0))
    run = _Decomposition(house, None)
    placed = run.run(24, 1e-3).placed
    assert bool(run.master.tail) == (step_s[-1] == 3600)
    run.done.bound_eur = -np.inf
    run._certify(run.proof)
    plain = run.done.bound_eur
    assert plain > 0.99 * placed.objective_eur
    ends = [tuple(p.dynamics.track(np.full(run.steps, on))[-1, 0] for on in (0, 1)) for p in run.pricers]
    gain = whole_bound(run.master, run.proof, ends) - run.master.base.dual_bound(run.proof)
    assert -0.005 <= gain <= placed.objective_eur - plain


def test_a_car_that_the_fuse_is_too_small_for_is_in_the_bound():
    """Fractions of its least current fit behind the fuse, whole ones do not."""
    problem = spring_house(2, seed=1)
    (car,) = problem.evs
    grid = problem.grid.model_copy(update={"import_limit_w": 4000.0})
    problem = problem.model_copy(update={
        "evs": (car.model_copy(update={"min_power_w": 6500.0, "max_power_w": 7000.0}),), "grid": grid,
        "pv_w": (0.0,) * problem.steps,
    })  # fmt: skip
    made = plan(problem)
    assert made.violations
    assert made.gap_fraction < 0.2
