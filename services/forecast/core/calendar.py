"""Local calendar of UTC instants: wall clock, weekday, holidays and bridge days, vectorised."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays
import numpy as np

from services.forecast.core.bands import BoolArray, FloatArray, IntArray

DAY_S = 86_400
_EPOCH = dt.date(1970, 1, 1)


@lru_cache(maxsize=64)
def known_zone(time_zone: str) -> ZoneInfo:
    """The zone of an IANA name; raises ValueError when there is none."""
    try:
        return ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"time_zone: {time_zone!r} is no IANA name; use one such as 'Europe/Prague'"
        ) from error


@lru_cache(maxsize=4096)
def _offset_s(time_zone: str, hour: int) -> int:
    instant = dt.datetime.fromtimestamp(hour * 3600, tz=dt.UTC).astimezone(known_zone(time_zone))
    offset = instant.utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def local_seconds(times_s: IntArray, time_zone: str) -> IntArray:
    """Wall-clock seconds since 1970-01-01 00:00 local time, for UTC epoch seconds, shape (n,).

    A day of 25 hours repeats an hour of wall time and a day of 23 skips one. Offsets are looked up
    once a day where the day has one offset, else by the hour (zones change on the hour in UTC).
    """
    if len(times_s) == 0:
        return times_s.copy()
    days, inverse = np.unique(times_s // DAY_S, return_inverse=True)
    first = np.array([_offset_s(time_zone, int(day) * 24) for day in days], dtype=np.int64)
    last = np.array([_offset_s(time_zone, int(day) * 24 + 24) for day in days], dtype=np.int64)
    offsets = first[inverse]
    for index in np.nonzero((first != last)[inverse])[0]:
        offsets[index] = _offset_s(time_zone, int(times_s[index]) // 3600)
    return times_s + offsets


def utc_from_local(local_s: IntArray, time_zone: str) -> IntArray:
    """UTC epoch seconds of wall-clock seconds; of a repeated hour the second, of a skipped one the next."""
    utc = local_s
    for _ in range(3):
        utc = local_s - (local_seconds(utc, time_zone) - utc)
    return utc


@lru_cache(maxsize=256)
def _holiday_days(country: str, subdivision: str, year: int) -> frozenset[int]:
    try:
        found = holidays.country_holidays(country, subdiv=subdivision or None, years=[year])
    except NotImplementedError as error:
        raise ValueError(
            f"country: {country!r} {subdivision!r} is not known; use an ISO 3166 code such as 'CZ', "
            "or leave it out: then no day is a holiday"
        ) from error
    return frozenset((day - _EPOCH).days for day in found)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Calendar columns for n instants (all shape (n,)).

    local_day: days since 1970-01-01 local; second_of_day: wall clock 0..86399; weekday: 0 = Monday;
    holiday, bridge: booleans; day_kind: 0 working day, 1 Saturday or bridge day, 2 Sunday or holiday;
    day_of_year: 1..366.
    """

    local_day: IntArray
    second_of_day: IntArray
    weekday: IntArray
    holiday: BoolArray
    bridge: BoolArray
    day_kind: IntArray
    day_of_year: IntArray

    @property
    def hour(self) -> FloatArray:
        """Wall-clock hour with fraction, 0 <= hour < 24."""
        return self.second_of_day / 3600.0


def calendar(
    times_s: IntArray, time_zone: str = "UTC", country: str = "", subdivision: str = ""
) -> Calendar:
    """Calendar of UTC epoch seconds in a local zone; without a country no day is a holiday.

    A bridge day is a working day caught between two free days (holiday on Thursday: the Friday).
    """
    local = local_seconds(times_s, time_zone)
    local_day = local // DAY_S
    unique_days, inverse = np.unique(local_day, return_inverse=True)
    holiday, bridge, day_of_year = [], [], []
    for day in unique_days.tolist():
        date = _EPOCH + dt.timedelta(days=day)
        day_of_year.append(date.timetuple().tm_yday)
        is_holiday = _is_holiday(day, country, subdivision)
        holiday.append(is_holiday)
        bridge.append(
            not is_holiday
            and (day + 3) % 7 < 5
            and _is_free(day - 1, country, subdivision)
            and _is_free(day + 1, country, subdivision)
        )
    weekday = (local_day + 3) % 7
    is_holiday_at = np.array(holiday, dtype=np.bool_)[inverse]
    is_bridge_at = np.array(bridge, dtype=np.bool_)[inverse]
    day_kind = np.where(
        is_holiday_at | (weekday == 6), 2, np.where(is_bridge_at | (weekday == 5), 1, 0)
    ).astype(np.int64)
    return Calendar(
        local_day=local_day,
        second_of_day=local - local_day * DAY_S,
        weekday=weekday,
        holiday=is_holiday_at,
        bridge=is_bridge_at,
        day_kind=day_kind,
        day_of_year=np.array(day_of_year, dtype=np.int64)[inverse],
    )


def _is_holiday(day: int, country: str, subdivision: str) -> bool:
    if not country:
        return False
    year = (_EPOCH + dt.timedelta(days=day)).year
    return day in _holiday_days(country, subdivision, year)


def _is_free(day: int, country: str, subdivision: str) -> bool:
    return (day + 3) % 7 >= 5 or _is_holiday(day, country, subdivision)
