"""The simple forecasts ours has to beat, made with the same knowledge at each issue."""

from __future__ import annotations

import numpy as np

from services.forecast.core.bands import Bands, FloatArray, IntArray
from services.forecast.core.calendar import DAY_S, local_seconds
from services.forecast.core.learners import LinearQuantiles
from services.forecast.core.place import Place
from services.forecast.core.pv import PvPredictor
from services.forecast.core.series import Dataset, WallSeries, wall_series

NEVER_S = np.iinfo(np.int64).max // 2


def median_only(values: FloatArray) -> Bands:
    """A forecast that has a median and nothing else; its bands are NaN."""
    nothing = np.full(len(values), np.nan)
    return Bands(nothing, values, nothing)


def lag_baselines(
    data: Dataset, issue_s: int, target_s: IntArray, place: Place
) -> dict[str, Bands]:
    """Same hour of the last known day, same hour last week, and the mean of the last four such hours."""
    past = wall_series(data.before(issue_s).series, place.time_zone)
    local = local_seconds(target_s, place.time_zone)
    issue_local = int(local_seconds(np.array([issue_s]), place.time_zone)[0])
    lag = np.maximum((local - issue_local) // DAY_S + 1, 1)
    weeks = np.stack([_lag(past, local, 7 * k * np.ones_like(lag)) for k in (1, 2, 3, 4)])
    known = (~np.isnan(weeks)).sum(axis=0)
    mean = np.where(known > 0, np.nansum(weeks, axis=0) / np.maximum(known, 1), np.nan)
    return {
        "yesterday": median_only(_lag(past, local, lag)),
        "last-week": median_only(weeks[0]),
        "four-week-mean": median_only(mean),
    }


def _lag(past: WallSeries, local_s: IntArray, days: IntArray) -> FloatArray:
    return past.at(local_s - days * DAY_S)


class PvBaselines:
    """Physics (when coordinates are given), the published forecast, and linear quantiles per hour."""

    COLUMNS = ("ghi", "cloud_cover", "temp_air", "relative_humidity", "tclw", "tciw")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.line: LinearQuantiles | None = None
        self.names: list[str] = []
        self.dark_hours: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.zeros(24, dtype=np.bool_)

    def train(self, data: Dataset) -> None:
        """Linear quantile regression per UTC hour on radiation, cloud and its water, temperature, humidity."""
        if data.weather is None:
            return
        self.names = [name for name in self.COLUMNS if name in data.weather.columns]
        if "ghi" not in self.names and "cloud_cover" not in self.names:
            return
        times = data.series.times_s
        y = data.series.values
        x = self._columns(data, np.full(len(times), NEVER_S, dtype=np.int64), times)
        good = ~np.isnan(y) & ~np.isnan(x).any(axis=1)
        hour = (times % DAY_S) // 3600
        top = float(np.nanmax(y, initial=1.0))
        self.dark_hours = np.array(
            [not np.any(y[good & (hour == h)] > 0.005 * top) for h in range(24)]
        )
        self.line = LinearQuantiles(ridge=1e-6, iterations=25)
        self.line.fit(x[good], y[good], np.ones(int(good.sum())), hour[good], 24)

    def _columns(self, data: Dataset, issue_s: IntArray, target_s: IntArray) -> FloatArray:
        assert data.weather is not None
        return np.column_stack([data.weather.as_of(k, issue_s, target_s) for k in self.names])

    def predict(
        self, data: Dataset, issue_s: int, target_s: IntArray, ours: PvPredictor
    ) -> dict[str, Bands]:
        """Every baseline that applies; NaN where it has nothing to say."""
        past = data.before(issue_s)
        issue = np.full(len(target_s), issue_s, dtype=np.int64)
        lag = np.maximum((target_s - issue_s) // DAY_S + 1, 1)
        result = {"yesterday": median_only(past.series.at(target_s - lag * DAY_S))}
        sun = ours.sun(target_s, data.series.step_s)
        if data.weather is not None and "pv_forecast_w" in data.weather.columns:
            published = data.weather.as_of("pv_forecast_w", issue, target_s)
            if sun is not None:
                published = np.where(np.isnan(published) & ~sun.up, 0.0, published)
            result["published-forecast"] = median_only(published)
        if self.place.location is not None:
            physics = ours.physics(data, issue, target_s, sun)
            if physics is not None:
                result["physics"] = median_only(physics)
        if self.line is not None:
            hour = (target_s % DAY_S) // 3600
            x = self._columns(data, issue, target_s)
            q = np.maximum(self.line.predict(x, hour), 0.0)
            q[self.dark_hours[hour]] = 0.0
            q[np.isnan(x).any(axis=1)] = np.nan
            result["linear-quantiles-per-hour"] = Bands(q[:, 0], q[:, 1], q[:, 2])
        return result
