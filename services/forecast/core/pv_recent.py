"""What the modules gave of what was expected, in the last hours and days before an issue."""

from __future__ import annotations

import numpy as np

from services.forecast.core.bands import FloatArray, IntArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.series import Series

LEAST_SHARE = 0.05
"""Of one full step: a window in which less than this was expected says nothing."""


class Recent:
    """Sums of measured and expected power since the beginning of a series, for ratios over any window.

    `expected_w`: one value for each step of `series`, in W, NaN where nothing is known of it.
    """

    def __init__(self, series: Series, expected_w: FloatArray, capacity_w: float) -> None:
        both = ~np.isnan(series.values) & ~np.isnan(expected_w)
        self.series = series
        self.least = LEAST_SHARE * capacity_w
        self.measured = _sums(np.where(both, series.values, 0.0))
        self.expected = _sums(np.where(both, expected_w, 0.0))

    def sums(self, issue_s: IntArray, hours: float) -> tuple[FloatArray, FloatArray]:
        """Measured and expected (n,), in W, summed over the steps of the last `hours` before each issue."""
        last = np.clip(
            (issue_s - self.series.start_s) // self.series.step_s, 0, len(self.measured) - 1
        )
        first = np.maximum(last - int(hours * 3600) // self.series.step_s, 0)
        return self.measured[last] - self.measured[first], self.expected[last] - self.expected[
            first
        ]

    def ratio(self, issue_s: IntArray, hours: float) -> FloatArray:
        """Measured over expected energy (n,); NaN where next to nothing was expected."""
        measured, expected = self.sums(issue_s, hours)
        known = expected >= self.least
        return np.where(known, measured / np.where(known, expected, 1.0), np.nan)


def lag_columns(
    series: Series, issue_s: IntArray, target_s: IntArray, capacity_w: float
) -> dict[str, FloatArray]:
    """What the modules did at the target's time of day on the last days before each issue, of capacity."""
    first_lag = np.maximum((target_s - issue_s) // DAY_S + 1, 1)
    lagged = [series.at(target_s - (first_lag + back) * DAY_S) for back in range(14)]
    past = np.stack(lagged) / capacity_w
    return {
        "day1": past[0],
        "mean3": np.nanmean(past[:3], axis=0),
        "mean7": np.nanmean(past[:7], axis=0),
        "mean14": np.nanmean(past, axis=0),
        "max7": np.nanmax(past[:7], axis=0),
        "max14": np.nanmax(past, axis=0),
    }


def _sums(values: FloatArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(values)])
