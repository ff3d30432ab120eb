"""Cars that charge at their least current or not at all: how long, how often and when that is decided."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from bench.planner.instances import START, make_house, with_grid
from contracts.planning import PlanningProblem
from services.optimizer.core import coupled_run, decomposition, generation, lp_rung
from services.optimizer.core.coupled import HeatPrices
from services.optimizer.core.coupled_bound import surroundings
from services.optimizer.core.coupled_run import CoupledRun
from services.optimizer.core.house import compile_house
from services.optimizer.core.linear_model import LinearModel
from services.optimizer.core.site_rows import build_site


def two_cars(seed: int = 1) -> PlanningProblem:
    """Two rooms, no battery, and a second car on one phase."""
    problem = make_house(2, (900,) * 96, battery=False, seed=seed)
    (car,) = problem.evs
    van = car.model_copy(update={
        "name": "van", "arrival": START, "departure": START + dt.timedelta(hours=23),
        "target_kwh": 20.0, "max_kwh": 22.0, "min_power_w": 1380.0, "max_power_w": 3680.0,
        "phase_shares": (1.0, 0.0, 0.0),
    })  # fmt: skip
    return with_grid(problem.model_copy(update={"evs": (car, van)}), import_limit_w=9000.0)


def test_the_guess_of_a_car_is_as_few_steps_as_hold_its_energy():
    """Sun for a part of the least current in each step: all of these steps on would overfill the car."""
    problem = make_house(1, (900,) * 32, battery=False)
    (car,) = problem.evs
    car = car.model_copy(update={
        "arrival": START, "departure": START + dt.timedelta(hours=8), "target_kwh": 2.0, "max_kwh": 2.2,
    })  # fmt: skip
    sun = np.array(problem.base_load_w) + 1000.0
    grid = problem.grid.model_copy(update={
        "buy_price_eur_per_kwh": (0.3,) * 32, "sell_price_eur_per_kwh": (0.0,) * 32,
    })  # fmt: skip
    house = compile_house(problem.model_copy(update={"evs": (car,), "pv_w": tuple(sun), "grid": grid}))
    model = LinearModel()
    site = build_site(model, house)
    relaxed = model.solve("glop")
    assert (relaxed.values[site.evs[0].on] > 1e-6).sum() >= 4
    whole = lp_rung._rounded(house, site, relaxed.values)
    assert sum(whole[int(on)] for on in site.evs[0].on) == 1.0
    kept = model.solve("glop", fixed=whole)
    assert kept.values[site.evs[0].missing] < 1e-6


@pytest.mark.parametrize("seed", [1, 3])
def test_candidates_keep_the_cars_of_the_best_plan_and_the_last_search_is_the_longest(seed, monkeypatch):
    asked, found = [], []

    def place(house, relays, fixed=None, nodes=1, start=None, **_):
        asked.append((len(fixed or {}), nodes))
        placed = lp_rung.place(house, relays, fixed, nodes, start)
        found.append(placed.objective_eur)
        return placed

    monkeypatch.setattr(generation, "place", place)
    monkeypatch.setattr(generation, "FEW_RELAYS", 0)
    house = compile_house(with_grid(two_cars(seed), peak_price_eur_per_kw=6.0))
    made = decomposition.decompose(house, 24, 1e-3).placed
    assert asked[0] == (0, 1)
    assert asked[-1] == (0, generation.LAST_NODES)
    kept = [columns > 0 and nodes == 1 for columns, nodes in asked[1:-1]]
    assert sum(kept) > 2, "candidates do not search"
    assert made.objective_eur <= min(found) + 1e-9, "no plan that was found is lost"
    hasty = lp_rung.place(house, made.decisions.relays, nodes=1)
    assert made.objective_eur < hasty.objective_eur - 1e-3
    again = lp_rung.place(house, made.decisions.relays, nodes=1, start=made.whole)
    assert again.objective_eur <= made.objective_eur + 1e-6, "what is known is where a search begins"


@pytest.mark.parametrize("seed", [1, 5])
def test_rooms_of_coupled_houses_choose_again_beside_a_car_that_charges_whole(seed, monkeypatch):
    house = make_house(
        2, (900,) * 48, coupled=True, two_node=True, battery=False, seed=seed, outdoor_c=-5.0
    )
    compiled = compile_house(with_grid(house, import_limit_w=2500.0))
    again = CoupledRun(compiled).run(8, 2, certify=False).placed.objective_eur
    monkeypatch.setattr(coupled_run, "DEAR_PLACING", np.inf)
    once = CoupledRun(compiled).run(8, 2, certify=False).placed.objective_eur
    assert again < 0.99 * once


def test_unwanted_warmth_is_never_cheaper_from_farther_away():
    house = compile_house(make_house(3, (900,) * 16, coupled=True, two_node=True, ev=False))
    run = CoupledRun(house)
    unwanted = HeatPrices(run.prices.air, np.abs(run.prices.mass) + 0.1)
    temperatures = run.joint.simulate(np.zeros((3, 16)))
    around = surroundings(house, unwanted, run.reach, temperatures, 16)
    assert (around.slow_limit == 0.0).all() and (around.reward >= 0.0).all()
