"""The bound beside frozen neighbours: below every allowed choice of schedules there, and near the best one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.planner.instances import make_house
from contracts.planning import PlanningProblem
from services.optimizer.core import coupled_run
from services.optimizer.core.assemble import FalseBound, make_plan
from services.optimizer.core.checker import check_plan
from services.optimizer.core.columns import column_cost
from services.optimizer.core.coupled_run import CoupledRun
from services.optimizer.core.frozen_bound import frozen_bound, planes_bound
from services.optimizer.core.generation import relaxed_duals
from services.optimizer.core.house import compile_house
from services.optimizer.core.lp_rung import place
from services.optimizer.core.planner import plan
from services.optimizer.core.pricing import Scratch
from tests.unit.optimizer.small_houses import small_house


def _allowed(pricer):
    """Every schedule that keeps orders and minimum times, as a column."""
    bits = itertools.product((0, 1), repeat=pricer.steps)
    return [pricer.column(relay) for relay in map(np.array, bits) if pricer.feasible(relay)]


@pytest.mark.parametrize("two_node", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_bound_of_a_room_beside_frozen_neighbours(seed, two_node):
    """Against every schedule, with what its air brings the neighbours paid at random prices, and beside a
    tail that pays for the last temperatures in every other house."""
    data = small_house(700 + seed, rooms=3, steps=8, two_node=two_node, coupled=True).model_dump()
    if seed % 2:
        data["step_s"], data["duty_from_step_s"] = (900,) * 7 + (3600,), 3600
    rng = np.random.default_rng(seed)
    data["weights"] = {"churn_eur_per_change": 0.03}
    before = {room["name"]: [int(on) for on in rng.integers(0, 2, 8)] for room in data["rooms"]}
    data["previous"] = {"plan_id": "before", "relays": before}
    house = compile_house(PlanningProblem.model_validate(data))
    run = CoupledRun(house)
    air = run.joint.simulate(rng.integers(0, 2, (3, 8)).astype(float))
    for pricer in run.pricers:
        pricer.linear = rng.uniform(-0.04, 0.02, pricer.steps)
        pricer.freeze(air)
        on_cost = rng.uniform(0.0, 0.2, pricer.steps)
        slope = np.zeros(pricer.room.nodes) if pricer.whole else rng.uniform(-0.2, 0.0, pricer.room.nodes)
        columns = _allowed(pricer)
        lower = planes_bound(pricer, on_cost, slope, columns[seed % len(columns)], 1.0, Scratch())
        assert lower is not None
        least = min(c.cost_eur + on_cost @ c.relay + slope @ c.end_c for c in columns)
        lower += pricer.linear_base_eur
        assert lower <= least + 1e-9
        assert lower >= least - (0.02 if pricer.whole else 0.1) * max(1.0, abs(least))


@pytest.mark.parametrize("seed", range(4))
def test_bound_of_a_house_beside_frozen_neighbours(seed):
    """Against every pair of schedules in the house frozen at the plan's temperatures."""
    problem = small_house(720 + seed, rooms=2, steps=6, two_node=seed % 2 == 1, coupled=True)
    made = plan(problem)
    assert made.frozen_bound_eur is not None
    house = compile_house(problem)
    run = CoupledRun(house)
    relays = np.array([room.relay for room in made.rooms])
    run._freeze(run.joint.simulate(relays))
    whole = []
    for pair in itertools.product(*map(_allowed, run.pricers)):
        chosen = np.array([column.relay for column in pair], dtype=float)
        cost = place(house, chosen).objective_eur
        track = run.joint.simulate(chosen)
        for room, column in zip(house.rooms, pair, strict=True):
            cost += column.cost_eur - column_cost(
                room, column.relay, track[room.index, :, : room.nodes], whole=True
            )
        whole.append(cost)
        if (chosen == relays).all():
            assert cost == pytest.approx(made.expected_cost_eur, abs=1e-6)
    assert made.frozen_bound_eur <= min(whole) + 1e-6
    assert made.frozen_bound_eur >= min(whole) - 0.1 * max(1.0, abs(min(whole)))


@pytest.mark.parametrize("two_node", [False, True])
def test_the_search_of_a_coupled_house_is_certified_beside_frozen_neighbours(two_node):
    problem = make_house(rooms=6, step_s=(900,) * 96, two_node=two_node, coupled=True)
    made = plan(problem)
    assert made.frozen_gap_fraction is not None
    assert made.frozen_gap_fraction < (0.01 if two_node else 0.005)
    assert made.bound_eur < made.frozen_bound_eur
    assert check_plan(problem, made).ok
    for wrong in (
        {"frozen_gap_fraction": made.frozen_gap_fraction + 0.001}, {"frozen_gap_fraction": None},
        {"frozen_bound_eur": made.expected_cost_eur + 1.0},
    ):  # fmt: skip
        assert not check_plan(problem, made.model_copy(update=wrong)).ok


def test_the_neighbours_are_frozen_as_the_plan_that_is_made_has_them(monkeypatch):
    """In this house the site's last search changes the plan after the last correction."""
    frozen = []

    def seen(house, pricers, *given):
        frozen.append([pricer.reference for pricer in pricers])
        return frozen_bound(house, pricers, *given)

    monkeypatch.setattr(coupled_run, "frozen_bound", seen)
    made = plan(small_house(1082, rooms=2, steps=12, coupled=True))
    assert np.array(frozen)[0, :, :, 0] == pytest.approx(np.array([room.air_c for room in made.rooms]))


def test_relays_that_break_a_rule_have_no_bound_among_those_that_keep_it():
    run = CoupledRun(compile_house(small_house(720, rooms=2, steps=6, coupled=True)))
    assert run.run(24, 4).frozen_bound_eur is not None
    run.done.frozen_bound_eur = None
    run.pricers[1].feasible = lambda relay: False
    run._certify(relaxed_duals(run.master, run.relaxation))
    assert run.done.frozen_bound_eur is None


def test_only_houses_whose_rooms_warm_each_other_have_one():
    made = plan(make_house(rooms=2, step_s=(900,) * 48, two_node=True))
    assert made.bound_eur is not None
    assert made.frozen_bound_eur is None
    assert made.frozen_gap_fraction is None


def test_a_frozen_bound_above_its_plan_is_a_fault_of_the_rung():
    problem = small_house(720, rooms=2, steps=6, coupled=True)
    made, house = plan(problem), compile_house(problem)
    decisions = place(house, np.array([room.relay for room in made.rooms])).decisions
    with pytest.raises(FalseBound, match="above the plan"):
        make_plan(
            house, decisions, np.zeros(6), "full", made.expected_cost_eur, made.bound_eur, "", made.work, "", 0,
            frozen_bound=made.expected_cost_eur + 1.0,
        )
