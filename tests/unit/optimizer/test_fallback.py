"""The rungs without a solver, seen alone."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from contracts.planning import PlanningProblem
from services.optimizer.core import planner
from services.optimizer.core.checker import check_plan
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
