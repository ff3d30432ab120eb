import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.site import Absence, SiteConfig
from twin.calendar import (
    comfort,
    epoch_s,
    local_day_start_s,
    local_seconds,
    look_ahead_max,
    utc,
)

PRAGUE = ZoneInfo("Europe/Prague")


@settings(max_examples=60, deadline=None)
@given(minute=st.integers(28_900_000, 29_800_000))
def test_comfort_agrees_with_the_site(site: SiteConfig, minute: int) -> None:
    house = site.model_copy(
        update={
            "holidays": (dt.date(2025, 12, 24), dt.date(2026, 1, 1), dt.date(2026, 4, 6)),
            "absences": (
                Absence(start=dt.datetime(2026, 2, 7, 10), end=dt.datetime(2026, 2, 14, 16)),
                Absence(
                    start=dt.datetime(2026, 3, 29, 1, 30), end=dt.datetime(2026, 8, 1), rooms=("guest",)
                ),
            ),
        }
    )
    times = np.array([minute * 60, minute * 60 + 40_000])
    low, high = comfort(house, local_seconds(times, PRAGUE))
    for row, at in enumerate(times.tolist()):
        local = utc(at).astimezone(PRAGUE)
        for column, room in enumerate(house.rooms):
            band = house.comfort_band(room.id, local)
            assert (low[row, column], high[row, column]) == band, (room.id, local)


@given(values=st.lists(st.integers(0, 9), min_size=1, max_size=30), steps=st.integers(0, 20))
def test_look_ahead_max_is_the_maximum_of_the_window(values: list[int], steps: int) -> None:
    got = look_ahead_max(np.array(values, dtype=float)[:, None], steps)[:, 0]
    expected = [max(values[k : k + steps + 1]) for k in range(len(values) - steps)]
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
