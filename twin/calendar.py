"""Local wall-clock time of UTC instants, and the comfort band of every room along it."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from contracts.site import SiteConfig
from twin.tables import FloatArray, IntArray

BoolArray = NDArray[np.bool_]

WEEK_MINUTES = 7 * 24 * 60


def epoch_s(when: dt.datetime) -> int:
    """Whole epoch seconds of an aware datetime; ValueError when it is naive."""
    if when.tzinfo is None:
        raise ValueError(f"{when!r} has no time zone; give an aware datetime")
    return int(when.timestamp())


def utc(time_s: int) -> dt.datetime:
    """The aware UTC datetime of epoch seconds."""
    return dt.datetime.fromtimestamp(time_s, tz=dt.UTC)


def local_seconds(times_s: IntArray, zone: ZoneInfo) -> IntArray:
    """Wall-clock seconds since 1970-01-01 local; offsets are looked up once an hour."""
    hours, inverse = np.unique(times_s // 3600, return_inverse=True)
    offsets = [
        int((utc(int(hour) * 3600).astimezone(zone).utcoffset() or dt.timedelta()).total_seconds())
        for hour in hours
    ]
    return np.asarray(times_s + np.array(offsets, dtype=np.int64)[inverse], dtype=np.int64)


def local_day_start_s(day: dt.date, zone: ZoneInfo) -> int:
    """Epoch seconds of local midnight at the start of a day (days of 23 and 25 h are right)."""
    return epoch_s(dt.datetime.combine(day, dt.time(), zone))


def minute_of_week(local_s: IntArray) -> IntArray:
    """0 = Monday 00:00 local; the epoch began on a Thursday."""
    return np.asarray((local_s // 60 + 3 * 1440) % WEEK_MINUTES, dtype=np.int64)


def comfort(site: SiteConfig, local_s: IntArray) -> tuple[FloatArray, FloatArray]:
    """Low and high edge of every room's comfort band at local times, shape (n, rooms), degC.

    `SiteConfig.comfort_band`, minute by minute and vectorised (tested to agree).
    """
    days, of_day = np.unique(local_s // 86_400, return_inverse=True)
    minute = local_s % 86_400 // 60
    low, high = (np.empty((len(local_s), len(site.rooms))) for _ in range(2))
    bands: dict[str, tuple[FloatArray, FloatArray]] = {}
    for name in sorted({room.comfort for room in site.rooms}):
        table = np.stack([_profile_day(site, name, int(day)) for day in days])
        bands[name] = (table[of_day, minute, 0], table[of_day, minute, 1])
    for column, room in enumerate(site.rooms):
        low[:, column], high[:, column] = bands[room.comfort]
        for absence in site.absences:
            if absence.rooms and room.id not in absence.rooms:
                continue
            away = (local_s >= _wall_s(absence.start)) & (local_s < _wall_s(absence.end))
            low[away, column] = np.minimum(low[away, column], site.away_c(room))
    return low, high


def _profile_day(site: SiteConfig, profile: str, day: int) -> FloatArray:
    """(1440, 2) band of a profile by local minute of one local day (days since 1970-01-01)."""
    midnight = dt.datetime(1970, 1, 1) + dt.timedelta(days=day)
    starts = {0} | {p.start.hour * 60 + p.start.minute for p in site.comfort[profile]}
    result = np.empty((1440, 2))
    for minute in sorted(starts):
        result[minute:] = site.profile_band(profile, midnight + dt.timedelta(minutes=minute))
    return result


def _wall_s(local: dt.datetime) -> int:
    return int((local - dt.datetime(1970, 1, 1)).total_seconds())


def all_away(site: SiteConfig, local_s: IntArray) -> BoolArray:
    """Where a planned absence empties the whole house, shape (n,)."""
    away = np.zeros(len(local_s), dtype=np.bool_)
    for absence in site.absences:
        if not absence.rooms:
            away |= (local_s >= _wall_s(absence.start)) & (local_s < _wall_s(absence.end))
    return away


def look_ahead_max(values: FloatArray, steps: int) -> FloatArray:
    """The highest value from each row to `steps` rows later, shape (n - steps, ...)."""
    result = values
    reach = 1
    while reach <= steps:  # doubling: the maximum over 1, 2, 4, ... rows
        step = min(reach, steps + 1 - reach)
        result = np.maximum(result[:-step], result[step:])
        reach += step
    return result
