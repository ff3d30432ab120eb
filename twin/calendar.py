"""Local wall-clock time of UTC instants, and the comfort band of every room over the week."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np

from contracts.local_time import DAYS
from contracts.site import SiteConfig
from twin.tables import FloatArray, IntArray

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


def comfort_week(site: SiteConfig) -> tuple[FloatArray, FloatArray]:
    """Low and high edge of every room's comfort band, shape (10080, rooms), degC.

    Row m is local minute m of the week. Agrees with `SiteConfig.comfort_band` (tested).
    """
    profiles = {}
    for name, periods in site.comfort.items():
        low = np.full(WEEK_MINUTES, np.nan)
        high = np.full(WEEK_MINUTES, np.nan)
        for period in periods:
            for day in period.days:
                minute = DAYS.index(day) * 1440 + period.start.hour * 60 + period.start.minute
                low[minute], high[minute] = period.low_c, period.high_c
        set_at = np.where(np.isnan(low), -1, np.arange(WEEK_MINUTES))
        latest = np.maximum.accumulate(set_at)
        latest[latest < 0] = set_at.max()  # Monday's first minutes reach back to Sunday
        profiles[name] = (low[latest], high[latest])
    lows = np.stack([profiles[room.comfort][0] for room in site.rooms], axis=1)
    highs = np.stack([profiles[room.comfort][1] for room in site.rooms], axis=1)
    return lows, highs


def look_ahead_max(week: FloatArray, minutes: int) -> FloatArray:
    """The highest value from now to `minutes` later, around the week, shape of `week`."""
    result = week.copy()
    reach = 1
    while reach <= minutes:  # doubling: the maximum over 1, 2, 4, ... rows
        step = min(reach, minutes + 1 - reach)
        result = np.maximum(result, np.roll(result, -step, axis=0))
        reach += step
    return result
