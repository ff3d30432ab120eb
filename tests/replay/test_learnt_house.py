"""From history to plans: the trainer reads what a house has lived, and the planner plans with it."""

from __future__ import annotations

from bench.house.learnt import live, prepared
from contracts.events.plan import LadderDescended, PlanComputed
from pems.trainer import read, train_house

HISTORY_DAYS, LIVED_DAYS = 8.5, 0.25


def test_learnt_rooms_are_planned_without_a_step_down_the_ladder() -> None:
    house, log = prepared(HISTORY_DAYS, LIVED_DAYS)
    [outcome] = train_house(read(log), {}, ["thermal"])
    assert outcome.promoted is not None, outcome.sentence
    house.promote(outcome.promoted, outcome.content)
    _, whole = live(house, log, LIVED_DAYS)
    lived = [event.data for event in whole[len(log) :]]
    plans = [data.plan for data in lived if isinstance(data, PlanComputed)]
    assert len(plans) >= 6
    assert not [data for data in lived if isinstance(data, LadderDescended)]
    assert {plan.rung for plan in plans} == {"full"}
    assert all(plan.gap_fraction is not None and plan.gap_fraction < 0.05 for plan in plans)
