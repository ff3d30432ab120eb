"""Replay, snapshots and the in-process runner, on three simulated hours made on the spot."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from chassis.service import Engine, dump, load
from contracts.envelope import Event, decode, encode
from contracts.events import command
from contracts.events.plan import PlanComputed
from contracts.site import SiteConfig
from pems.inprocess import Simulation
from pems.replay import pure_services, replay
from services.optimizer.core import problem
from twin.generate import default_scenario

HOURS = 3


def simulate(site: SiteConfig, safety_limits: dict[str, Any]) -> list[Event]:
    log: list[Event] = []
    scenario = default_scenario()
    house = Simulation(site, safety_limits, scenario, seed=7, sink=log.append)
    while house.house.time < scenario.start + dt.timedelta(hours=HOURS):
        house.advance()
    return log


@pytest.fixture(scope="module")
def log(site: SiteConfig, safety_limits: dict[str, Any]) -> list[Event]:
    return simulate(site, safety_limits)


def test_the_recording_holds_decisions_worth_comparing(log: list[Event]) -> None:
    kinds = {event.type for event in log}
    assert {
        "plan.computed", "forecast.issued", "thermal.dynamics-issued", "command.proposed",
        "command.approved", "command.verified", "safety.mode-changed",
    } <= kinds  # fmt: skip
    assert sum(isinstance(event.data, command.Verified) for event in log) > 50


def test_every_decision_is_identical(log: list[Event]) -> None:
    outcome = replay(log)
    assert outcome.identical, outcome.difference
    assert outcome.compared > 500
    assert outcome.unfinished == 0


def test_identical_also_after_a_trip_through_the_wire_format(log: list[Event]) -> None:
    again = [decode(*encode(event), event.sequence) for event in log]
    outcome = replay(again)
    assert outcome.identical, outcome.difference


def test_the_same_run_gives_the_same_log_byte_for_byte(
    log: list[Event], site: SiteConfig, safety_limits: dict[str, Any]
) -> None:
    again = simulate(site, safety_limits)
    assert [encode(event) for event in again] == [encode(event) for event in log]


def test_one_changed_constant_names_the_first_plan_that_differs(
    log: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problem, "STORED_VALUE", 0.5)
    outcome = replay(log)
    first = next(event for event in log if isinstance(event.data, PlanComputed))
    found = outcome.difference
    assert found is not None
    assert (found.service, found.trigger.sequence) == ("optimizer", first.as_of)
    assert found.recorded is not None
    assert found.recorded.id == first.id
    assert found.what.startswith("plan.")
    assert found.chain[0].id == first.id
    assert found.chain[-1].type == "clock.ticked"


@pytest.mark.parametrize("kind", ["plan.computed", "command.approved", "thermal.state-estimated"])
def test_an_altered_recording_is_noticed(log: list[Event], kind: str) -> None:
    victim = next(event for event in log if event.type == kind)
    altered = [replace(e, entity="other") if e is victim else e for e in log]
    outcome = replay(altered)
    assert outcome.difference is not None
    assert outcome.difference.recorded is not None
    assert outcome.difference.recorded.sequence == victim.sequence


def test_a_decision_missing_from_the_recording_is_noticed(log: list[Event]) -> None:
    victim = next(event for event in log if event.type == "plan.computed")
    outcome = replay([event for event in log if event is not victim])
    assert outcome.difference is not None
    assert "is new" in outcome.difference.what


def test_an_empty_log_is_not_identical() -> None:
    assert not replay([]).identical


def test_a_snapshot_continues_exactly_where_the_log_would(log: list[Event]) -> None:
    middle = len(log) * 2 // 3
    whole = [Engine(service) for service in pure_services()]
    for event in log[:middle]:
        for engine in whole:
            engine.fold(event)
    resumed = [
        Engine(service, load(service.state_type, dump(engine.state)))
        for service, engine in zip(pure_services(), whole, strict=True)
    ]
    for event in log[middle:]:
        for old, new in zip(whole, resumed, strict=True):
            assert [encode(e) for e in old.handle(event)] == [encode(e) for e in new.handle(event)]
