"""The rungs without a solver, seen alone."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from bench.planner.instances import make_house, with_scenarios
from contracts.planning import PlanningProblem, WorkDone
from services.optimizer.core import assemble, generation, lp_rung, planner
from services.optimizer.core.checker import check_plan
from services.optimizer.core.costs import evaluate
from services.optimizer.core.house import compile_house
from services.optimizer.core.planner import WarmStart, WorkBudget, plan
from tests.unit.optimizer.small_houses import small_house


def _later(problem: PlanningProblem, made, steps: int) -> PlanningProblem:
    """The same house `steps` quarter hours later, where the plan expected it to be."""
    data = problem.model_dump()
    data["rooms"] = [{**room, "fixed_relay": ()} for room in data["rooms"]]
    data["start"] = problem.start + dt.timedelta(seconds=sum(problem.step_s[:steps]))
    for room, planned in zip(data["rooms"], made.rooms, strict=True):
        room["initial_air_c"] = planned.air_c[steps]
        if planned.mass_c:
            room["initial_mass_c"] = planned.mass_c[steps]
        room["initial_on"] = bool(planned.relay[steps - 1])
        room["initial_in_state_s"] = 7200
    if data["battery"]:
        data["battery"]["initial_soc_fraction"] = made.battery_soc_fraction[steps]
    return PlanningProblem.model_validate(data)


@pytest.mark.parametrize("seed", range(8))
def test_a_shifted_plan_keeps_to_the_last_one(seed):
    problem = small_house(seed, rooms=2, steps=16, two_node=seed % 2 == 1, extras=seed > 3)
    old = plan(problem)
    later = _later(problem, old, 4)
    made = plan(later, WarmStart(old), WorkBudget(rung="shifted"))
    assert made.rung == "shifted"
    assert made.bound_eur is None
    assert check_plan(later, made).ok
    for room, before in zip(made.rooms, old.rooms, strict=True):
        gap = np.abs(np.array(room.air_c[1:13]) - np.array(before.air_c[5:]))
        assert gap.mean() < 1.0
    if later.battery is not None and seed > 3:
        ours = np.array(made.battery_charge_w[:12]) - np.array(made.battery_discharge_w[:12])
        theirs = np.array(old.battery_charge_w[4:]) - np.array(old.battery_discharge_w[4:])
        assert np.abs(ours - theirs).mean() < 600.0


def test_rules_are_a_thermostat_and_self_consumption():
    problem = small_house(2, rooms=2, steps=16, extras=False)
    made = plan(problem, budget=WorkBudget(rung="rules"))
    assert made.rung == "rules"
    assert check_plan(problem, made).ok
    for room, planned in zip(problem.rooms, made.rooms, strict=True):
        for t, on in enumerate(planned.relay):
            if planned.air_c[t] > room.high_c[t] + 2.0:
                assert on == 0.0


@pytest.mark.parametrize("fault", [ValueError, ZeroDivisionError, MemoryError, KeyError])
def test_any_fault_in_a_rung_steps_down_and_is_told(monkeypatch, fault):
    def broken(*args, **kwargs):
        raise fault("planted")

    monkeypatch.setattr(planner, "_decomposed", broken)
    made = plan(small_house(3))
    assert made.rung == "lp_rounded"
    assert [step.split(":")[0] for step in made.steps_down] == ["full", "restricted"]
    assert all("planted" in step for step in made.steps_down)


def test_a_plan_that_is_over_cannot_be_shifted():
    problem = small_house(3)
    old = plan(problem)
    later = problem.model_copy(update={"start": problem.start + dt.timedelta(days=3)})
    later = later.model_copy(update={"evs": (), "deferrable_loads": ()})
    made = plan(later, WarmStart(old), WorkBudget(rung="shifted"))
    assert made.rung == "rules"
    assert "is over" in made.steps_down[0]
    assert check_plan(later, made).ok


def test_rungs_that_begin_with_a_relaxation_nobody_solves_are_not_tried_one_by_one(monkeypatch):
    tried = []

    def fails(house):
        tried.append(house)
        raise lp_rung.RelaxationFailed("glop: planted")

    for module in (lp_rung, generation):
        monkeypatch.setattr(module, "solve_relaxation", fails)
    made = plan(small_house(3, rooms=2, steps=16))
    assert made.rung == "rules"
    assert made.steps_down[0] == "full: glop: planted"
    assert [step.split(":")[0] for step in made.steps_down] == ["full", "shifted"]
    assert len(tried) == 1


@pytest.mark.parametrize("scenarios", [1, 3])
def test_a_house_without_rooms_is_planned_and_not_only_ruled(scenarios):
    house = with_scenarios(make_house(2, (1800,) * 24), scenarios)
    problem = house.model_copy(update={"rooms": ()})
    made, rules = plan(problem), plan(problem, budget=WorkBudget(rung="rules"))
    assert made.steps_down == ()
    assert made.rung == "lp_rounded"
    assert check_plan(problem, made).ok
    assert made.gap_fraction < 1e-3
    assert made.expected_cost_eur < rules.expected_cost_eur


@pytest.mark.parametrize("seed", [1, 2])
def test_rules_say_what_they_cost_over_all_scenarios(seed):
    problem = with_scenarios(make_house(2, (1800,) * 24, seed=seed), 3)
    made = plan(problem, budget=WorkBudget(rung="rules"))
    each = [
        plan(
            problem.model_copy(
                update={"scenarios": (), "pv_w": s.pv_w, "base_load_w": s.base_load_w}
            ),
            budget=WorkBudget(rung="rules"),
        ).cost.total_eur
        for s in problem.scenarios
    ]
    assert made.expected_cost_eur == pytest.approx(np.mean(each), abs=1e-9)
    assert made.expected_cost_eur != pytest.approx(made.cost.total_eur, abs=1e-3)
    assert made.expected_cost_eur >= plan(problem).bound_eur


def test_a_bound_above_its_plan_is_a_fault_and_not_cut_off():
    house = compile_house(small_house(3, rooms=2, steps=16))
    placed = lp_rung.place(house, np.zeros((2, 16)))
    cost = placed.objective_eur

    def made(bound):
        return assemble.make_plan(
            house, placed.decisions, placed.marginal_price, "full", cost, bound, "none",
            WorkDone(), "none", 0,
        )  # fmt: skip

    assert made(cost + 1e-9).bound_eur == cost
    with pytest.raises(assemble.FalseBound, match="above the plan's"):
        made(cost + 1e-3 * max(1.0, abs(cost)))


def test_a_battery_above_its_maximum_burns_nothing():
    house = make_house(2, (1800,) * 24)
    problem = house.model_copy(
        update={
            "battery": house.battery.model_copy(
                update={"initial_soc_fraction": 1.0, "terminal_value_eur_per_kwh": 0.0}
            ),
            "grid": house.grid.model_copy(update={"export_limit_w": 0.0}),
            "base_load_w": (0.0,) * house.steps,
        }
    )
    compiled = compile_house(problem)
    placed = lp_rung.place(compiled, np.zeros((2, problem.steps)))
    # what the model of the site promised is what the plan costs
    chosen = lp_rung._solve_site(compiled, np.zeros((2, problem.steps)), {}).chosen
    fixed = evaluate(compiled, compiled.nominal, placed.decisions).cost
    rooms = fixed["comfort_eur"] + fixed["switching_eur"] + fixed["terminal_heat_eur"]
    assert placed.objective_eur - rooms == pytest.approx(chosen.objective, abs=1e-6)
