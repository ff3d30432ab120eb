"""Loads that may wait, an evening and a night long: the whole chain, in one process."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from contracts.envelope import Event
from contracts.events.command import Executed, Proposed, Rejected, Verified
from contracts.events.measurement import LoadSampled
from contracts.site import SiteConfig
from pems.inprocess import Simulation
from pems.why import Log, explain
from twin.generate import PRAGUE, default_scenario

START = dt.datetime(2026, 1, 13, 18, 0, tzinfo=PRAGUE.zone)
HOURS = 13
WASH: dict[str, Any] = {
    "id": "wash", "earliest": "19:30", "deadline": "06:30", "phase": 2,
    "segments": [{"minutes": 30, "power_w": 2_000.0}, {"minutes": 60, "power_w": 200.0}],
}  # fmt: skip


@pytest.fixture(scope="module")
def night(site: SiteConfig, safety_limits: dict[str, Any]) -> tuple[Simulation, list[Event]]:
    plain = site.model_dump(mode="json")
    house = SiteConfig.model_validate({**plain, "loads": [*plain["loads"], WASH]})
    wash = {"kind": "load", "device": "load-wash", "power_w": 2_000, "maximum_lease_s": 1_500}
    limits = {**safety_limits, "devices": [*safety_limits["devices"], wash]}
    log: list[Event] = []
    ran = Simulation(house, limits, default_scenario(START, days=2), seed=7, sink=log.append)
    while ran.house.time < START + dt.timedelta(hours=HOURS):
        ran.advance()
    return ran, log


def supplies(log: list[Event], load: str) -> list[tuple[dt.datetime, bool]]:
    """Each change of a load's supply."""
    found: list[tuple[dt.datetime, bool]] = []
    for event in log:
        data = event.data
        if isinstance(data, LoadSampled) and data.load == load:
            assert data.on is not None
            if not found or found[-1][1] != data.on:
                found.append((data.time, data.on))
    return found


def test_both_houses_give_their_loads_the_same_energy(night: tuple[Simulation, list[Event]]) -> None:
    house, _ = night
    assert house.house.truth.loads_wh == pytest.approx(5_000.0 + 1_200.0, abs=1.0)
    assert house.baseline.house.truth.loads_wh == pytest.approx(5_000.0 + 1_200.0, abs=1.0)


def test_the_washing_waits_past_the_evening_and_runs_in_one_go(
    night: tuple[Simulation, list[Event]]
) -> None:
    _, log = night
    changes = supplies(log, "wash")
    on = [at.astimezone(PRAGUE.zone) for at, state in changes if state]
    assert len(on) == 1
    assert on[0].hour >= 20 or on[0].hour < 5
    off = next(at for at, state in changes if not state and at > on[0])
    assert off - on[0] >= dt.timedelta(minutes=85)


def test_commands_are_granted_read_back_and_say_why(night: tuple[Simulation, list[Event]]) -> None:
    _, log = night
    ours = [event for event in log if event.entity == "load-wash"]
    assert not [event for event in ours if isinstance(event.data, Rejected)]
    done = [e.data.value for e in ours if isinstance(e.data, Executed)]
    assert len([event for event in ours if isinstance(event.data, Verified)]) == len(done)
    running = next(e for e in ours if isinstance(e.data, Proposed) and e.data.value == 1)
    said = explain(Log(log), running).sentence
    assert "the wash was asked to run because now is its time by the plan; buying costs" in said
    waiting = next(e for e in ours if isinstance(e.data, Proposed) and "waits" in e.data.reason)
    said = explain(Log(log), waiting).sentence
    assert "was asked to wait because it waits for cheaper energy, to be done by 06:30" in said
