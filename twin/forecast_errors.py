"""How a weather forecast is wrong: a seeded error model for scenarios without recorded forecasts.

A numerical forecast runs every 6 h (00, 06, 12, 18 UTC) and reaches the house 4 h later. The error
of a run about a target hour has two halves of equal variance: one shared by all runs (what the
models misjudge about that day's weather) and one of the run's own; both are AR(1) along the target
hours. The standard deviation grows with the lead time h (hours since the run):

* temperature: 0.5 K + 1.6 K (1 - exp(-h / 36)), correlation 0.92 an hour;
* clear-sky index: 0.06 + 0.16 (1 - exp(-h / 18)), correlation 0.85 an hour, largest under broken
  cloud (multiplied by 1.3 - |2 kt - 1|), around a truth smoothed over 3 h, since forecasts are
  smoother than skies;
* wind: 20 % + 20 % (1 - exp(-h / 36)) of its value, correlation 0.9 an hour.

The orders of magnitude follow published verification of European models (2 m temperature RMSE of
1-1.5 K on the first day, GHI RMSE of about 30-40 % of the mean); the exact figures are a
convention of this twin, not a fit.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.signal import lfilter

from twin.sun import clear_ghi_means
from twin.tables import BoolArray, FloatArray, IntArray, Table

RUN_S = 6 * 3600
DELAY_S = 4 * 3600
CORRELATION = {"temperature_c": 0.92, "ghi_w_m2": 0.85, "wind_m_s": 0.9}
STREAM = {"temperature_c": 1, "ghi_w_m2": 2, "wind_m_s": 3}


def ar1(innovations: FloatArray, correlation: float) -> FloatArray:
    """Stationary AR(1) of unit variance from standard normal innovations, along axis 0."""
    scale = np.sqrt(1 - correlation**2)
    shaped = innovations * scale
    shaped[0] = innovations[0]
    return np.asarray(lfilter([1.0], [1.0, -correlation], shaped, axis=0))


class ForecastErrors:
    """Forecasts made from a scenario's true weather; deterministic in (seed, issue time)."""

    def __init__(
        self, weather: Table, seed: int, latitude: float, longitude: float, altitude_m: float
    ) -> None:
        self._seed = seed
        first = -(-weather.start_s // 3600) * 3600
        hours = (weather.end_s - first) // 3600
        self._first_s, self._hours = first, hours
        self._truth = {name: _hourly(weather, name, first, hours) for name in weather.columns}
        self._clear = clear_ghi_means(first, 3600, hours, latitude, longitude, altitude_m)
        index = self._truth["ghi_w_m2"] / np.maximum(self._clear, 1.0)
        self._sky_index = _fill_nights(index, self._clear > 20.0)
        self._shared = {
            name: ar1(
                np.random.default_rng([seed, 71, stream]).standard_normal(hours), CORRELATION[name]
            )
            for name, stream in STREAM.items()
        }

    def forecast(self, issued_s: int, times_s: IntArray) -> Mapping[str, FloatArray]:
        """Forecast of the hours `times_s` as known at `issued_s`; arrays of shape (hours,)."""
        run_s = (issued_s - DELAY_S) // RUN_S * RUN_S
        first = (int(times_s[0]) - self._first_s) // 3600
        rows = slice(first, first + len(times_s))
        if first < 0 or rows.stop > self._hours:
            raise ValueError(
                "weather: a forecast needs rows to "
                f"{np.datetime64(int(times_s[-1]) + 3600, 's')}Z; the scenario ends earlier"
            )
        lead_h = (times_s - run_s) / 3600 + 0.5
        error = {name: self._error(name, run_s, rows) for name in STREAM}
        slow, fast = 1 - np.exp(-lead_h / 36), 1 - np.exp(-lead_h / 18)
        temperature = self._truth["temperature_c"][rows] + error["temperature_c"] * (
            0.5 + 1.6 * slow
        )
        index = self._smooth_index(rows)
        spread = (0.06 + 0.16 * fast) * (1.3 - np.abs(2 * np.clip(index, 0, 1) - 1))
        ghi = np.clip(index + spread * error["ghi_w_m2"], 0.03, 1.08) * self._clear[rows]
        wind = self._truth["wind_m_s"][rows] * np.exp(
            (0.2 + 0.2 * slow) * error["wind_m_s"] - 0.5 * (0.2 + 0.2 * slow) ** 2
        )
        return {
            "temperature_c": np.round(temperature, 1),
            "ghi_w_m2": np.round(ghi, 0),
            "wind_m_s": np.round(wind, 1),
        }

    def _error(self, name: str, run_s: int, rows: slice) -> FloatArray:
        """Standard-normal error of one run: half shared between runs, half its own."""
        run_first = max(0, (run_s - self._first_s) // 3600)
        generator = np.random.default_rng([self._seed, 72, STREAM[name], run_s // RUN_S])
        own = ar1(generator.standard_normal(rows.stop - run_first), CORRELATION[name])
        own = own[rows.start - run_first :]
        return np.asarray(np.sqrt(0.5) * (self._shared[name][rows] + own))

    def _smooth_index(self, rows: slice) -> FloatArray:
        padded = np.pad(self._sky_index, 1, mode="edge")
        smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
        return smooth[rows]


def _hourly(weather: Table, column: str, first_s: int, hours: int) -> FloatArray:
    """Hourly means of a table whose step divides an hour."""
    if 3600 % weather.step_s:
        raise ValueError(f"weather: a step of {weather.step_s} s does not divide an hour")
    per_hour = 3600 // weather.step_s
    offset = (first_s - weather.start_s) // weather.step_s
    values = weather[column][offset : offset + hours * per_hour]
    return np.asarray(values.reshape(hours, per_hour).mean(axis=1))


def _fill_nights(index: FloatArray, day: BoolArray) -> FloatArray:
    """The clear-sky index of the nearest daylight hours, joined across the night."""
    if not day.any():
        return np.full(len(index), 0.5)
    where = np.flatnonzero(day)
    return np.interp(np.arange(len(index)), where, np.clip(index[where], 0.02, 1.1))
