"""Loads of the simulated house: a programme a window, run while the supply is on."""

from __future__ import annotations

import datetime as dt

import pytest

from contracts.site import SiteConfig
from twin.calendar import epoch_s
from twin.house import House
from twin.loads import Programme
from twin.scenario import Scenario
from twin.state import Actuation

MINUTE_S = 60
WASH = {
    "id": "wash", "earliest": "19:30", "deadline": "06:30", "days": ["mon"],
    "segments": [{"minutes": 30, "power_w": 2_000.0}, {"minutes": 60, "power_w": 200.0}],
}  # fmt: skip
MONDAY = epoch_s(dt.datetime(2026, 1, 12, 18, 30, tzinfo=dt.UTC))
"""19:30 in Prague."""


@pytest.fixture
def washing(site: SiteConfig) -> Programme:
    data = {**site.model_dump(mode="json"), "loads": [WASH]}
    return Programme(SiteConfig.model_validate(data), 0, MONDAY - 600)


def run(programme: Programme, first_s: int, minutes: int, supply: bool | None) -> list[float]:
    return [programme.step(first_s + MINUTE_S * k, MINUTE_S, supply) for k in range(minutes)]


def test_by_its_own_timer_it_runs_when_the_window_opens_and_once(washing: Programme) -> None:
    assert run(washing, MONDAY - 600, 10, None) == [0.0] * 10
    assert not washing.on
    assert run(washing, MONDAY, 120, None) == [2_000.0] * 30 + [200.0] * 60 + [0.0] * 30
    assert not washing.on
    assert washing.opens_s == MONDAY + 7 * 86_400


def test_held_off_it_waits_and_cut_off_it_goes_on_where_it_was(washing: Programme) -> None:
    assert run(washing, MONDAY, 60, False) == [0.0] * 60
    assert run(washing, MONDAY + 3_600, 20, True) == [2_000.0] * 20
    assert run(washing, MONDAY + 4_800, 5, False) == [0.0] * 5
    rest = run(washing, MONDAY + 5_100, 90, True)
    assert rest == [2_000.0] * 10 + [200.0] * 60 + [0.0] * 20
    assert washing.on, "the supply stays as it was commanded"


def test_a_sub_step_over_the_end_of_a_segment_has_its_mean(washing: Programme) -> None:
    run(washing, MONDAY, 29, None)
    assert washing.step(MONDAY + 1_740, 120, None) == pytest.approx(1_100.0)


def test_outside_its_window_power_does_nothing(washing: Programme) -> None:
    assert run(washing, MONDAY - 600, 5, True) == [0.0] * 5
    assert washing.on


def test_a_house_goes_on_with_the_programme_it_was_saved_in(site: SiteConfig, winter: Scenario) -> None:
    evening = winter.start.replace(hour=21, minute=0) + dt.timedelta(days=1)
    house = House(site, winter, 7, evening)
    house.step(evening + dt.timedelta(minutes=45))
    assert house.observe().loads["boiler"].power_w == 2_000.0
    other = House(site, winter, 7, winter.start)
    other.load(house.save())
    until = house.time + dt.timedelta(hours=3)
    assert other.step(until) == house.step(until)
    assert house.truth.loads_wh == pytest.approx(5_000.0)
    with pytest.raises(ValueError, match="loads: 'sauna' is no load of the site"):
        house.step(until + dt.timedelta(minutes=1), Actuation(loads={"sauna": True}))
