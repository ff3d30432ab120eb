import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.site import SiteConfig
from twin.calendar import (
    comfort_week,
    epoch_s,
    local_day_start_s,
    local_seconds,
    look_ahead_max,
    minute_of_week,
    utc,
)

PRAGUE = ZoneInfo("Europe/Prague")


@settings(max_examples=60, deadline=None)
@given(minute=st.integers(28_900_000, 29_800_000))
def test_comfort_week_agrees_with_the_site(site: SiteConfig, minute: int) -> None:
    low, high = comfort_week(site)
    row = int(minute_of_week(local_seconds(np.array([minute * 60]), PRAGUE))[0])
    local = utc(minute * 60).astimezone(PRAGUE)
    for column, room in enumerate(site.rooms):
        band = site.comfort_band(room.id, local)
        assert (low[row, column], high[row, column]) == band, (room.id, local)


@given(values=st.lists(st.integers(0, 9), min_size=1, max_size=30), minutes=st.integers(0, 20))
def test_look_ahead_max_is_the_maximum_of_the_window(values: list[int], minutes: int) -> None:
    week = np.array(values, dtype=float)[:, None]
    got = look_ahead_max(week, minutes)[:, 0]
    size = len(values)
    expected = [max(values[(k + j) % size] for j in range(minutes + 1)) for k in range(size)]
    assert got.tolist() == expected


def test_days_of_23_and_25_hours() -> None:
    def hours(day: dt.date) -> float:
        next_day = local_day_start_s(day + dt.timedelta(days=1), PRAGUE)
        return (next_day - local_day_start_s(day, PRAGUE)) / 3600

    assert hours(dt.date(2026, 3, 29)) == 23
    assert hours(dt.date(2026, 10, 25)) == 25


def test_naive_times_are_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        epoch_s(dt.datetime(2026, 1, 1))
