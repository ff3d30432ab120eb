"""Recorded data as the predictors read it: one target on a regular grid, weather in issued runs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from services.forecast.core.bands import FloatArray, IntArray, step_of
from services.forecast.core.calendar import DAY_S, local_seconds


@dataclass(frozen=True, slots=True)
class Series:
    """Values on a regular grid: value i is the mean of the step that begins at start_s + i * step_s (UTC)."""

    start_s: int
    step_s: int
    values: FloatArray

    @property
    def end_s(self) -> int:
        """First instant after the last step."""
        return self.start_s + len(self.values) * self.step_s

    @property
    def times_s(self) -> IntArray:
        return self.start_s + np.arange(len(self.values), dtype=np.int64) * self.step_s

    def at(self, times_s: IntArray) -> FloatArray:
        """Value of the step that holds each instant; NaN outside the grid."""
        index = (times_s - self.start_s) // self.step_s
        inside = (index >= 0) & (index < len(self.values))
        result = np.full(times_s.shape, np.nan)
        result[inside] = self.values[index[inside]]
        return result

    def steps_from(self, issue_s: IntArray, lead_s: int) -> IntArray:
        """Beginnings (n, k) of the steps of `lead_s` seconds, from the first at or after each issue (n,)."""
        first = issue_s + (self.start_s - issue_s) % self.step_s
        return first[:, None] + np.arange(0, lead_s, self.step_s, dtype=np.int64)

    def between(self, from_s: int, to_s: int) -> Series:
        """The steps that end by `to_s` and begin at or after `from_s`."""
        first = max(0, -(-(from_s - self.start_s) // self.step_s))
        last = max(first, min(len(self.values), (to_s - self.start_s) // self.step_s))
        return Series(self.start_s + first * self.step_s, self.step_s, self.values[first:last])


def regular(times_s: IntArray, values: FloatArray, step_s: int | None = None) -> Series:
    """A `Series` from irregular samples: mean per step, NaN where a step has none.

    A sample that stands for longer than `step_s` (an hourly price on a quarter-hour grid) is not spread;
    see `held`. Raises ValueError on an empty input.
    """
    if len(times_s) == 0:
        raise ValueError("times_s: no samples; give at least one")
    step = step_of(times_s) if step_s is None else step_s
    # Clocks that lie half an hour beside UTC begin their hours there, and the sun is where they say.
    phases, counts = np.unique(times_s % step, return_counts=True)
    phase = int(phases[np.argmax(counts)])
    start = (int(times_s[0]) - phase) // step * step + phase
    size = int((times_s[-1] - start) // step) + 1
    known = ~np.isnan(values)
    index = ((times_s - start) // step)[known]
    counts = np.bincount(index, minlength=size)
    sums = np.bincount(index, weights=values[known], minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Series(start, step, np.where(counts > 0, sums / counts, np.nan))


@dataclass(frozen=True, slots=True)
class WallSeries:
    """A series on a regular grid of local wall-clock time, for lags of whole local days.

    The repeated hour of autumn is averaged; the skipped hour of spring takes the hour before.
    """

    start_local_s: int
    step_s: int
    values: FloatArray

    def at(self, local_s: IntArray) -> FloatArray:
        index = (local_s - self.start_local_s) // self.step_s
        inside = (index >= 0) & (index < len(self.values))
        return np.where(inside, self.values[np.where(inside, index, 0)], np.nan)


def wall_series(series: Series, time_zone: str) -> WallSeries:
    """`series` re-indexed by local wall-clock time."""
    if len(series.values) == 0:
        return WallSeries(0, series.step_s, np.full(1, np.nan))
    local = local_seconds(series.times_s, time_zone)
    start = int(local[0]) // DAY_S * DAY_S
    index = (local - start) // series.step_s
    size = int(index.max()) + 1
    known = ~np.isnan(series.values)
    counts = np.bincount(index[known], minlength=size)
    sums = np.bincount(index[known], weights=series.values[known], minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(counts > 0, sums / counts, np.nan)
    skipped = np.bincount(index, minlength=size) == 0
    back = 3600 // series.step_s
    for i in np.nonzero(skipped)[0]:
        if i >= back:
            values[i] = values[i - back]
    return WallSeries(start, series.step_s, values)


@dataclass(frozen=True, slots=True)
class WeatherRuns:
    """Weather (and others' forecasts) by valid time and issue time; several runs may overlap.

    valid_s, issued_s: shape (n,), sorted by valid time, then issue time; columns: name -> (n,).
    step_s: distance of neighbouring valid times within a run. Data without issue times counts as issued
    at -infinity, that is: known in advance.
    """

    valid_s: IntArray
    issued_s: IntArray
    columns: dict[str, FloatArray]
    step_s: int
    _index: dict[str, IntArray] = field(default_factory=dict, repr=False)

    def rows_as_of(self, issue_s: IntArray, target_s: IntArray) -> IntArray:
        """Row of the newest run valid for each target and issued at or before each issue; -1 for none."""
        index = self._times()
        valid = target_s // self.step_s * self.step_s
        slot = np.searchsorted(index["valid"], valid)
        slot = np.minimum(slot, len(index["valid"]) - 1)
        hit = index["valid"][slot] == valid
        first, last = index["first"][slot], index["last"][slot]
        row = last
        single = first == last
        if not bool(single.all()):
            row = row.copy()
            for _ in range(int((last - first).max())):
                late = (self.issued_s[row] > issue_s) & (row > first)
                if not late.any():
                    break
                row[late] -= 1
        known = hit & (self.issued_s[row] <= issue_s)
        return np.where(known, row, -1)

    def as_of(self, name: str, issue_s: IntArray, target_s: IntArray) -> FloatArray:
        """One column for each target as it was known at each issue time; NaN where nothing was."""
        rows = self.rows_as_of(issue_s, target_s)
        return np.where(rows >= 0, self.columns[name][np.maximum(rows, 0)], np.nan)

    def between(self, name: str, issue_s: IntArray, target_s: IntArray, step_s: int) -> FloatArray:
        """`as_of` for steps of `step_s`; from coarser runs linear between the middles of their steps."""
        if self.step_s <= step_s:
            return self.as_of(name, issue_s, target_s)
        past_middle = target_s + (step_s - self.step_s) // 2
        before = past_middle // self.step_s * self.step_s
        share = (past_middle - before) / self.step_s
        first = self.as_of(name, issue_s, before)
        second = self.as_of(name, issue_s, before + self.step_s)
        first, second = (
            np.where(np.isnan(first), second, first),
            np.where(np.isnan(second), first, second),
        )
        return np.asarray(first + share * (second - first))

    def spread(self, name: str, issue_s: IntArray, target_s: IntArray) -> FloatArray:
        """Absolute change between the newest and the previous run for each target; NaN where there is one."""
        rows = self.rows_as_of(issue_s, target_s)
        before = np.maximum(rows - 1, 0)
        same = (rows > 0) & (self.valid_s[before] == self.valid_s[np.maximum(rows, 0)])
        values = self.columns[name]
        return np.where(same, np.abs(values[np.maximum(rows, 0)] - values[before]), np.nan)

    def _times(self) -> dict[str, IntArray]:
        if not self._index:
            valid, first = np.unique(self.valid_s, return_index=True)
            last = np.append(first[1:], len(self.valid_s)) - 1
            self._index.update(
                valid=valid, first=first.astype(np.int64), last=last.astype(np.int64)
            )
        return self._index


def weather_runs(
    valid_s: IntArray, columns: dict[str, FloatArray], issued_s: IntArray | None = None
) -> WeatherRuns:
    """`WeatherRuns` from rows in any order; without `issued_s` everything counts as known in advance."""
    issued = (
        np.full(len(valid_s), np.iinfo(np.int64).min // 2, dtype=np.int64)
        if issued_s is None
        else issued_s
    )
    order = np.lexsort((issued, valid_s))
    valid_s, issued = valid_s[order], issued[order]
    step = step_of(np.unique(valid_s))
    grid = valid_s // step * step
    return WeatherRuns(grid, issued, {k: v[order] for k, v in columns.items()}, step)


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a predictor may look at: the measured target and, where there is any, the weather."""

    series: Series
    weather: WeatherRuns | None = None

    def before(self, issue_s: int, days: int | None = None) -> Dataset:
        """Only what was measured by `issue_s` (and, if asked, not older than `days`)."""
        first = self.series.start_s if days is None else issue_s - days * DAY_S
        return Dataset(self.series.between(first, issue_s), self.weather)
