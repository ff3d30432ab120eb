"""The bound is a true bound and the plan is near it: checked against exact optima."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from bench.planner.instances import make_house
from contracts.planning import PlanningProblem
from services.optimizer.core import coupled_bound
from services.optimizer.core.checker import check_plan
from services.optimizer.core.costs import evaluate
from services.optimizer.core.coupled import HeatPrices, neighbour_linear
from services.optimizer.core.coupled_bound import slow_mode
from services.optimizer.core.coupled_run import CoupledRun
from services.optimizer.core.decisions import read_decisions
from services.optimizer.core.frozen_bound import planes_bound
from services.optimizer.core.house import compile_house
from services.optimizer.core.linear_model import LinearModel
from services.optimizer.core.lp_rung import place
from services.optimizer.core.planner import WarmStart, WorkBudget, plan
from services.optimizer.core.pricing import Scratch
from services.optimizer.core.room_rows import build_rooms
from services.optimizer.core.site_rows import build_site
from services.optimizer.core.trajectories import simulate
from tests.unit.optimizer.small_houses import small_house


def exact_optimum(problem):
    """Optimum of the whole problem as one MIP (HiGHS to 1e-9), priced by replay."""
    house = compile_house(problem)
    model = LinearModel()
    site = build_site(model, house)
    rooms = build_rooms(model, house, site, binary=True)
    solution = model.solve("highs", gap=1e-9, nodes=200_000)
    relays = np.round([solution.values[room.relay] for room in rooms])
    decisions = read_decisions(house, site, 0, solution.values, relays)
    cost = evaluate(house, house.nominal, decisions).cost["total_eur"]
    return solution.bound + problem.grid.fixed_fee_eur, cost


@pytest.mark.parametrize("seed", range(12))
def test_bound_is_below_the_exact_optimum_and_the_plan_near_it(seed):
    problem = small_house(
        100 + seed, rooms=2, steps=8, two_node=seed % 3 == 2, coupled=seed % 3 == 1,
        minimum_s=(0, 900, 1800)[seed % 3],
    )
    low, high = exact_optimum(problem)
    made = plan(problem)
    assert made.bound_eur is not None
    assert made.bound_eur <= high + 1e-6
    assert made.expected_cost_eur >= low - 1e-5
    assert check_plan(problem, made).faults == []
    # two rooms at a tight fuse are the decomposition's worst case; coupling is only approximated
    share = 0.2 if compile_house(problem).coupled else 0.05
    assert made.expected_cost_eur <= high + share * abs(high) + 0.15


@pytest.mark.parametrize("seed", range(8))
def test_bound_of_a_room_that_warms_another_but_feels_none(seed):
    """Against every schedule: its cost, less what the other room pays for its air at every step."""
    data = small_house(300 + seed, rooms=2, steps=8, two_node=True, coupled=True).model_dump()
    data["rooms"][1]["dynamics"]["neighbours"] = ()
    house = compile_house(PlanningProblem.model_validate(data))
    run = CoupledRun(house)
    pricer, heat, gain = run.pricers[1], run.prices, house.rooms[0].neighbour_gain[1]
    heat.air[0] += 0.3  # so that the payments weigh
    linear = neighbour_linear(house, heat, 8)
    pricer.linear = np.ascontiguousarray(linear[1])
    on_cost = np.random.default_rng(seed).uniform(0.0, 0.2, 8)
    guess = next(
        pricer.column(np.array(bits))
        for bits in itertools.product((0, 1), repeat=8)
        if pricer.cells.feasible(np.array(bits))
    )
    lower = planes_bound(pricer, on_cost, np.zeros(2), guess, 1.0, Scratch())
    assert lower is not None
    lower += coupled_bound._start_credit(house, heat, 1)
    paid = heat.air[0][:, None] * gain[:, :1] - heat.mass[0, 1:, None] * gain[:, 1:]
    pricer.linear = np.zeros(8)
    costs = []
    for bits in itertools.product((0, 1), repeat=8):
        relay = np.array(bits)
        if not pricer.cells.feasible(relay):
            continue
        own = pricer.column(relay).cost_eur + float(on_cost @ relay)
        relays = np.zeros((2, 8))
        relays[1] = relay
        air = simulate(house, relays)[1][:-1, 0]
        costs.append(own - float(paid[:, 0] @ air))
    assert lower <= min(costs) + 1e-9
    assert lower >= min(costs) - 0.02 * max(1.0, abs(min(costs)))


def _coupled_room(seed, two_node, wanted):
    """Room 0 of two with prices drawn, around a plan that always has the relays `wanted`."""
    house = compile_house(
        small_house(500 + seed, rooms=2, steps=8, two_node=two_node, coupled=True, extras=False)
    )
    run, rng = CoupledRun(house), np.random.default_rng(seed)
    worth = np.array([room.terminal_value_eur_per_k[-1] for room in house.rooms])
    end = -np.minimum(rng.uniform(0.0, 0.5, 2), worth)
    heat = HeatPrices.adjoint(house, rng.uniform(0.0, 0.2, (2, 8)), end, 8)
    reference = run.joint.simulate(np.full((2, 8), wanted))
    around = coupled_bound.surroundings(house, heat, run.reach, reference, 8)
    for pricer in run.pricers:
        pricer.linear = np.ascontiguousarray(neighbour_linear(house, heat, 8)[pricer.room.index])

    def bound(around):
        return coupled_bound.room_bound(
            house, run.pricers[0], on_cost, np.zeros(2), heat, run.reach, reference[0], around, 0.005
        )

    on_cost = rng.uniform(-0.1, 0.1, 8)
    (gain,) = house.rooms[0].neighbour_gain.values()
    paid = heat.air[0] * gain[:, 0]
    dearer = gain[:, 0] * around.air_limit[0]
    if two_node:
        e = slow_mode(house.rooms[0], 8)[0]
        paid = paid - heat.mass[0, 1:] * gain[:, 1]
        dearer = dearer + (e * gain[:, 0] + gain[:, 1]) * around.slow_limit[0]
    run.prices = heat
    return house, run, around, on_cost, bound, paid, dearer


@pytest.mark.parametrize("two_node", [False, True])
@pytest.mark.parametrize("wanted", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_what_rooms_pay_for_air_far_from_the_reference_is_what_the_neighbours_get(
    seed, wanted, two_node, monkeypatch
):
    monkeypatch.setattr(coupled_bound, "NEAR_K", {1: 0.1, 2: 0.1})
    _, run, around, _, _, _, dearer = _coupled_room(seed, two_node, wanted)
    assert (around.low <= around.high).all()
    rng, far = np.random.default_rng(seed), 0.0
    for _ in range(20):
        air = run.joint.simulate(rng.integers(0, 2, (2, 8)).astype(float))[1, :, 0]
        away = np.maximum(around.low[1] - air[:8], air[:8] - around.high[1]).clip(0.0)
        beyond = np.maximum(around.near_low[1] - air[1:], air[1:] - around.near_high[1]).clip(0.0)
        assert float(around.reward[1] @ beyond) == pytest.approx(float(dearer @ away), abs=1e-12)
        far += float(dearer @ away)
    assert far > 0.0


@pytest.mark.parametrize("two_node", [False, True])
@pytest.mark.parametrize("share", [0.2, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_bound_of_a_room_that_takes_what_air_it_likes(seed, share, two_node, monkeypatch):
    """Against every schedule with the best neighbour it could wish for, found as a linear programme."""
    monkeypatch.setattr(coupled_bound, "NEAR_K", {1: 0.1, 2: 0.1})
    monkeypatch.setattr(coupled_bound, "AIR_SHARE", {1: share, 2: share})
    monkeypatch.setattr(coupled_bound, "SLOW_SHARE", 0.1 * share)
    house, run, around, on_cost, bound, paid, dearer = _coupled_room(seed, two_node, 0.0)
    pricer, room = run.pricers[0], house.rooms[0]
    best = rewarded = np.inf
    for bits in itertools.product((0, 1), repeat=8):
        relay = np.array(bits)
        if pricer.cells.feasible(relay):
            cost = float((on_cost + pricer.churn) @ relay) + pricer.churn_base_eur
            cost += room.switch_cost_eur * np.abs(np.diff([room.initial_on, *bits])).sum()
            wished, air = _wished(house, run, relay, around, paid, dearer)
            beyond = np.maximum(around.near_low[0] - air, air - around.near_high[0]).clip(0.0)
            best = min(best, cost + wished)
            rewarded = min(rewarded, cost + wished - float(around.reward[0] @ beyond))
    sold = coupled_bound._start_credit(house, run.prices, 0)
    assert bound(around) <= rewarded + sold + 1e-7
    lower = bound(replace(around, reward=np.zeros((2, 8))))
    assert lower <= best + sold + 1e-7
    assert two_node or lower >= best + sold - 0.02 * max(1.0, abs(best))


def _wished(house, run, relay, around, paid, dearer):
    """Comfort and end of room 0, EUR, and its air, with the neighbour's air chosen freely at its price."""
    room, linear = house.rooms[0], run.pricers[0].linear
    ((other, gain),) = room.neighbour_gain.items()
    n, nodes = relay.size, room.nodes
    cost, rows, right, bounds = [], [], [], []
    size = n * (nodes + 4) + nodes  # by step: air after, mass after, taken, away, cold, hot; then ends

    def row(entries, value):
        line = np.zeros(size)
        for column, factor in entries:
            line[column] += factor
        rows.append(line)
        right.append(value)

    equal, equal_right = [], []
    width = nodes + 4
    for t in range(n):
        taken, away, cold, hot = (t * width + nodes + k for k in range(4))
        for k in range(nodes):
            line = np.zeros(size)
            line[t * width + k], line[taken] = 1.0, -gain[t, k]
            value = room.drift_k[t, k] + room.heat_k[t, k] * relay[t]
            for j in range(nodes):
                if t == 0:
                    value += room.transition[t, k, j] * room.start_c[j]
                else:
                    line[(t - 1) * width + j] -= room.transition[t, k, j]
            equal.append(line)
            equal_right.append(value)
        row([(taken, 1.0), (away, -1.0)], around.high[other, t])
        row([(taken, -1.0), (away, -1.0)], -around.low[other, t])
        row([(t * width, -1.0), (cold, -1.0)], -room.low_c[t])
        row([(t * width, 1.0), (hot, -1.0)], room.high_c[t])
        cost += [*[linear[t], 0.0][:nodes], paid[t], dearer[t]]
        cost += [room.penalty_low_eur_per_k[t], room.penalty_high_eur_per_k[t]]
        bounds += [(None, None)] * (nodes + 1) + [(0.0, 0.0 if t == 0 else None)] + [(0.0, None)] * 2
    for k in range(nodes):
        row([((n - 1) * width + k, -1.0), (n * width + k, -1.0)], -room.terminal_target_c[k])
        cost.append(room.terminal_value_eur_per_k[k])
        bounds.append((0.0, None))
    found = linprog(cost, np.array(rows), right, np.array(equal), equal_right, bounds)
    assert found.status == 0
    return found.fun, found.x[: n * width : width]


@pytest.mark.parametrize(("seed", "outdoor_c"), [(14, 1.0), (16, 1.0), (22, 1.0), (15, -4.6)])
def test_plans_of_16_rooms_are_certified_to_a_thousandth(seed, outdoor_c):
    """Rooms that answer each other only where limits are full, a car placed only after them and prices three
    ten-thousandths from the fractions' each left one of these above it."""
    made = plan(make_house(seed=seed, outdoor_c=outdoor_c))
    assert made.rung == "full"
    assert made.gap_fraction <= 1e-3


def test_finer_steps_are_content_with_wider_gaps():
    """Three times the steps: what a thousandth needs there takes half as many LPs again."""
    made = plan(make_house(rooms=8, step_s=(300,) * 576, seed=2))
    assert 1e-3 < made.gap_fraction < 3e-3
    assert made.work.lp_solves < 80


@pytest.mark.parametrize("seed", range(6))
def test_coupling_into_the_duty_steps_is_priced_once(seed):
    data = small_house(
        400 + seed, rooms=2, coupled=True, two_node=seed % 2 == 1, step_s=(900,) * 6 + (3600,) * 2
    ).model_dump()
    data["duty_from_step_s"] = 3600
    problem = PlanningProblem.model_validate(data)
    house = compile_house(problem)
    run = CoupledRun(house)
    linear = neighbour_linear(house, run.prices, run.steps)
    assert linear.shape == (2, 6)
    assert (linear[:, -1] == 0.0).all()  # the master's rows of the first duty step hold it
    _, high = exact_optimum(problem)
    made = plan(problem)
    assert made.bound_eur is not None
    assert made.bound_eur <= high + 1e-6


def test_a_cheap_price_does_not_make_the_bound_of_two_node_rooms_loose():
    """The comfort price that the bound is tried with first follows the price of heat."""
    data = make_house(rooms=3, step_s=(900,) * 96, two_node=True).model_dump()
    buy = data["grid"]["buy_price_eur_per_kwh"]
    data["grid"]["buy_price_eur_per_kwh"] = (0.01,) * 64 + tuple(buy[64:])
    data["grid"]["sell_price_eur_per_kwh"] = (0.0,) * 96
    made = plan(PlanningProblem.model_validate(data))
    assert made.bound_eur is not None
    assert made.expected_cost_eur - made.bound_eur < 0.2


def test_two_node_rooms_without_neighbours_have_a_tight_bound(monkeypatch):
    problem = make_house(rooms=4, step_s=(900,) * 96, two_node=True)
    made = plan(problem)
    assert made.gap_fraction is not None
    assert made.gap_fraction < 0.02
    monkeypatch.setattr(coupled_bound, "planes_bound", lambda *given: None)
    loose = plan(problem)
    assert loose.bound_eur is not None
    assert made.bound_eur is not None
    assert loose.bound_eur < made.bound_eur - 0.02 * abs(made.bound_eur)


def test_prices_exist_where_the_lowest_comfort_is_out_of_reach():
    """Frost protection until the duty steps begin: no room can be that cold by then."""
    data = small_house(7, rooms=2, steps=12).model_dump()
    data["step_s"] = (900,) * 8 + (3600,) * 4
    data["duty_from_step_s"] = 3600
    for room in data["rooms"]:
        room["low_c"] = (5.0,) * 8 + (20.0,) * 4
    problem = PlanningProblem.model_validate(data)
    made = plan(problem)
    assert (made.rung, made.steps_down) == ("full", ())
    assert check_plan(problem, made).ok


@pytest.mark.parametrize("seed", range(6))
def test_bound_is_below_any_feasible_plan(seed):
    """Random schedules that keep the rules never cost less than the bound."""
    problem = small_house(300 + seed, rooms=2, steps=12, extras=seed % 2 == 0)
    made = plan(problem)
    house = compile_house(problem)
    rng = np.random.default_rng(seed)
    for _ in range(15):
        relays = np.zeros((2, 12))
        for room in house.rooms:
            state, hold = room.initial_on, room.held_steps
            for step in range(12):
                wish = int(rng.random() < 0.5)
                order = room.relay_fixed[step]
                value = int(order) if order >= 0 else (wish if hold <= 0 else state)
                if value != state:
                    hold = (room.min_on_steps if value else room.min_off_steps)[step]
                state, hold = value, hold - 1
                relays[room.index, step] = value
        assert place(house, relays).objective_eur >= made.bound_eur - 1e-6


def test_a_warm_start_uses_the_old_plan_and_is_no_worse():
    problem = small_house(11, rooms=3, steps=16)
    cold = plan(problem)
    warm = plan(problem, WarmStart(cold))
    assert warm.work.warm_columns > 0
    assert warm.expected_cost_eur <= cold.expected_cost_eur * 1.01 + 1e-6


def test_rungs_are_ordered_by_cost():
    problem = small_house(21, rooms=3, steps=24, extras=False)
    full = plan(problem)
    rounded = plan(problem, budget=WorkBudget(rung="lp_rounded"))
    assert full.rung == "full"
    assert rounded.rung == "lp_rounded"
    assert full.expected_cost_eur <= rounded.expected_cost_eur + 1e-6
    assert full.bound_eur >= rounded.bound_eur - 1e-6
