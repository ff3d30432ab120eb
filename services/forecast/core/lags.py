"""Lags by whole local days: what was measured at this wall-clock time on the days before the issue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.forecast.core.bands import BoolArray, FloatArray, IntArray
from services.forecast.core.calendar import DAY_S, calendar, local_seconds
from services.forecast.core.place import Place
from services.forecast.core.series import Dataset, WallSeries, wall_series


@dataclass(frozen=True, slots=True)
class DayTable:
    """Calendar of every local day in a span: kind, weekday, holiday, bridge, day of year."""

    first_day: int
    kind: IntArray
    weekday: IntArray
    holiday: BoolArray
    bridge: BoolArray
    day_of_year: IntArray

    def row(self, local_day: IntArray) -> IntArray:
        return np.clip(local_day - self.first_day, 0, len(self.kind) - 1)


def day_table(first_day: int, last_day: int, place: Place) -> DayTable:
    """Calendar rows for local days first_day..last_day (days since 1970-01-01)."""
    noon = np.arange(first_day, last_day + 1, dtype=np.int64) * DAY_S + DAY_S // 2
    days = calendar(noon, "UTC", place.country, place.subdivision)
    return DayTable(
        first_day, days.day_kind, days.weekday, days.holiday, days.bridge, days.day_of_year
    )


@dataclass(frozen=True, slots=True)
class Lags:
    """Rows of a feature table, prepared once for all features.

    local_s: wall clock of the target (n,); first_lag: whole days back to the newest known day (n,), 1
    within 24 h of the issue, 2 within 48 h; days: calendar table; samples: (n, k), the value at the same
    wall-clock time first_lag, first_lag + 1, ... days before; likeness: (n, k) of those days to the target.
    """

    issue_local_s: IntArray
    local_s: IntArray
    first_lag: IntArray
    days: DayTable
    wall: WallSeries
    samples: FloatArray
    likeness: FloatArray

    def at_lag(self, lag_days: IntArray | int, shift_s: int = 0) -> FloatArray:
        """Value `lag_days` before the target's wall-clock time, NaN if not yet known at the issue."""
        when = self.local_s - lag_days * DAY_S + shift_s
        return np.where(when < self.issue_local_s, self.wall.at(when), np.nan)

    def smoothed(self, when: IntArray, radius: int) -> FloatArray:
        """Mean of the known steps within `radius` of each wall time (n, k), none of them after the issue."""
        total, count = np.zeros(when.shape), np.zeros(when.shape)
        limit = self.issue_local_s[:, None]
        for offset in range(-radius, radius + 1):
            at = when + offset * self.wall.step_s
            values = self.wall.at(at)
            known = ~np.isnan(values) & (at < limit)
            total += np.where(known, values, 0.0)
            count += known
        return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)

    def target_row(self) -> IntArray:
        return self.days.row(self.local_s // DAY_S)

    def before_issue(self, hours: float) -> FloatArray:
        """Mean of the last `hours` before the issue (n,), NaN-aware."""
        unique, inverse = np.unique(self.issue_local_s, return_inverse=True)
        return window_mean(self.wall, unique - int(hours * 3600), unique)[inverse]


def window_mean(wall: WallSeries, from_local_s: IntArray, to_local_s: IntArray) -> FloatArray:
    """Mean of known values in [from, to) for each pair, NaN where none is known."""
    known = ~np.isnan(wall.values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, wall.values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    first = np.clip((from_local_s - wall.start_local_s) // wall.step_s, 0, len(known))
    last = np.clip((to_local_s - wall.start_local_s) // wall.step_s, 0, len(known))
    number = counts[last] - counts[first]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(number > 0, (sums[last] - sums[first]) / number, np.nan)


def make_lags(
    data: Dataset, issue_s: IntArray, target_s: IntArray, place: Place, depth: int
) -> Lags:
    """Prepare lags for rows (issue, target), with `depth` past days of samples."""
    wall = wall_series(data.series, place.time_zone)
    local = local_seconds(target_s, place.time_zone)
    issue_local = local_seconds(issue_s, place.time_zone)
    first_lag = np.maximum((local - issue_local) // DAY_S + 1, 1)
    table = day_table(int(wall.start_local_s // DAY_S) - 400, int(local.max() // DAY_S) + 8, place)
    lag = first_lag[:, None] + np.arange(depth)
    when = local[:, None] - lag * DAY_S
    samples = wall.at(when)
    past = table.row(when // DAY_S)
    target = table.row(local // DAY_S)
    same_weekday = table.weekday[past] == table.weekday[target][:, None]
    likeness = np.where(
        table.kind[past] == table.kind[target][:, None], np.where(same_weekday, 1.5, 1.0), 0.15
    )
    return Lags(issue_local, local, first_lag, table, wall, samples, likeness)


def row_quantiles(
    samples: FloatArray, weights: FloatArray, levels: tuple[float, ...]
) -> FloatArray:
    """Weighted quantiles along each row of (n, k); NaN samples weigh nothing; returns (n, len(levels))."""
    known = ~np.isnan(samples)
    weight = np.where(known, weights, 0.0)
    order = np.argsort(np.where(known, samples, np.inf), axis=1)
    values = np.take_along_axis(samples, order, axis=1)
    position = np.cumsum(np.take_along_axis(weight, order, axis=1), axis=1)
    total = position[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        position = position / total
    last = np.maximum(known.sum(axis=1) - 1, 0)
    rows = np.arange(len(samples))
    result = np.empty((len(samples), len(levels)))
    for column, level in enumerate(levels):
        index = np.minimum((position < level).sum(axis=1), last)
        result[:, column] = np.where(total[:, 0] > 0, values[rows, index], np.nan)
    return result


def row_mean(samples: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted NaN-aware mean of each row."""
    weight = np.where(np.isnan(samples), 0.0, weights)
    total = weight.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (np.where(weight > 0, samples, 0.0) * weight).sum(axis=1) / total
    return np.where(total > 0, mean, np.nan)
