"""Cuts of single steps: kept by every whole plan, and as high as the hull of whole relays."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from bench.planner.instances import mild_house
from contracts.planning import PlanningProblem
from services.optimizer.core import decomposition, step_cuts, step_hull
from services.optimizer.core.house import compile_house
from services.optimizer.core.linear_model import LinearModel
from services.optimizer.core.lp_rung import _solve_site
from services.optimizer.core.master import Master
from services.optimizer.core.planner import plan
from services.optimizer.core.room_rows import build_rooms
from services.optimizer.core.site_rows import build_site
from services.optimizer.core.step_hull import LEAST_KW, SAFE_KW, steepest
from tests.unit.optimizer.small_houses import small_house
from tests.unit.optimizer.test_bound import exact_optimum


def drawn(seed, n):
    """(level, power, fraction) of n relays around a kink."""
    rng = np.random.default_rng(seed)
    power = rng.uniform(0.3, 1.5, n)
    if seed % 2:
        power = np.round(power, 2)
    fraction = rng.choice([0.0, 1.0, 0.5, 0.25, 1 / 3], n) if seed % 3 else rng.uniform(0, 1, n)
    return -rng.uniform(0.0, 1.0) * power.sum(), power, fraction


@pytest.mark.parametrize("n", [1, 3, 7, 12])
@pytest.mark.parametrize("seed", range(40))
def test_a_cut_holds_for_all_whole_relays_and_is_as_high_as_their_hull(seed, n):
    level, power, fraction = drawn(seed, n)
    base, slope = steepest(level, power, fraction)
    whole = np.array(list(itertools.product((0.0, 1.0), repeat=n)))
    needed = np.maximum(0.0, level + whole @ power)
    assert (base + whole @ slope <= needed + 1e-9).all()
    hull = linprog(
        needed, A_eq=np.vstack([whole.T, np.ones(len(whole))]), b_eq=np.append(fraction, 1.0)
    ).fun
    lost = SAFE_KW + n * LEAST_KW + 1e-6
    if n > 9:
        lost += 0.02  # relays are lifted, and by powers on a grid
    assert base + fraction @ slope >= hull - lost


@pytest.mark.parametrize("seed", range(12))
def test_a_cut_holds_whatever_the_simplex_method_came_to(seed, monkeypatch):
    """It has a limit of pivots, and rounding errors."""
    level, power, fraction = drawn(seed, 7)
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(
        step_hull, "_plane", lambda taken, value, free: (1.0, rng.uniform(-1.0, 3.0, free.size))
    )
    base, slope = steepest.py_func(level, power, fraction)
    whole = np.array(list(itertools.product((0.0, 1.0), repeat=7)))
    assert (base + whole @ slope <= np.maximum(0.0, level + whole @ power) + 1e-9).all()


def test_a_car_that_is_ordered_to_charge_takes_of_the_sun_and_one_that_may_counts_by_its_least():
    problem = mild_house(1, 8.0, 6.0, ev=True, export="low")
    session = problem.evs[0]
    free = kinks_of(problem)[1]
    (choice, least), = free.also
    step = int(np.flatnonzero(choice >= 0)[0])
    orders = tuple(2000.0 if t == step else None for t in range(problem.steps))
    ordered = kinks_of(problem.model_copy(update={
        "evs": (session.model_copy(update={"fixed_power_w": orders}),),
    }))[1]
    added = np.zeros(problem.steps)
    added[step] = 2.0
    assert ordered.level_kw == pytest.approx(free.level_kw + added)
    assert ordered.also[0][0][step] == -1 and least[step + 1] == session.min_power_w / 1000.0


def kinks_of(problem):
    model, house = LinearModel(), compile_house(problem)
    site = build_site(model, house)
    high = model.vectors()[1]
    return step_cuts.kinks(house, site, [high[columns.grid_import] for columns in site.scenarios])


def test_a_cut_over_many_rooms_holds():
    """More relays than can be enumerated; the worst vector by the hundred thousand."""
    rng = np.random.default_rng(5)
    for _ in range(5):
        power = rng.uniform(0.3, 1.5, 64)
        level, fraction = -0.4 * power.sum(), rng.choice([0.0, 0.0, 0.5, 1.0, 0.9], 64)
        base, slope = steepest(level, power, fraction)
        order = np.argsort(slope / power)
        for count in range(65):  # the best vectors for a linear slope, and others near them
            near = np.zeros((2000, 64))
            near[:, order[64 - count :]] = 1.0
            near = np.abs(near - (rng.random(near.shape) < 0.03))
            assert (base + near @ slope <= np.maximum(0.0, level + near @ power) + 1e-9).all()


def cut_run(problem, monkeypatch):
    """The decomposition of a problem, after its plan."""
    runs = []
    real = decomposition._Decomposition.run

    def run(self, *given):
        runs.append(self)
        return real(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(decomposition._Decomposition, "run", run)
        made = plan(problem)
    assert made.rung == "full"
    return runs[0], made


def test_every_plan_keeps_every_cut(monkeypatch):
    """Batteries, cars, loads, orders and limits: the exact optimum and random relays, placed."""
    monkeypatch.setattr(Master, "cuts_pay", lambda self: True)
    monkeypatch.setattr(step_cuts, "BROKEN_KW", 1e-4)
    tried = 0
    for seed in range(14):
        data = small_house(700 + seed, rooms=3, steps=12).model_dump()
        data["heating_groups"] = ()
        for room in data["rooms"]:
            room["heating_group"] = None
        problem = PlanningProblem.model_validate(data)
        run, made = cut_run(problem, monkeypatch)
        house = compile_house(problem)
        model = LinearModel()
        site = build_site(model, house)
        rooms = build_rooms(model, house, site, binary=True)
        found = model.solve("highs", gap=1e-9, nodes=200_000)
        plans = [(found.values, np.round([found.values[room.relay] for room in rooms]))]
        rng = np.random.default_rng(seed)
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            relays = (rng.random((3, 12)) < share).astype(float)
            plans.append((_solve_site(house, relays, {}).chosen.values, relays))
        for (values, relays), cut in itertools.product(plans, run.master.cuts):
            left = cut.values @ values[cut.columns] - cut.slope @ relays[:, cut.step]
            assert left >= cut.base - 1e-6
        assert made.bound_eur <= exact_optimum(problem)[1] + 1e-6
        tried += len(run.master.cuts)
    assert tried > 20


def test_on_a_mild_day_cuts_close_most_of_the_gap(monkeypatch):
    problem = mild_house(22, 8.0, 8.0, ev=False, export="low")
    made = plan(problem)
    assert made.gap_fraction < 3e-3
    monkeypatch.setattr(Master, "cuts_pay", lambda self: False)
    without = plan(problem)
    assert without.bound_eur < made.bound_eur - 2e-3 * made.bound_eur
