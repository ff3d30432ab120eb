"""Household load from the calendar and recent days: weighted quantiles per day kind and time of day."""

from __future__ import annotations

import numpy as np

from services.forecast.core.bands import (
    Bands,
    FloatArray,
    IntArray,
    epoch_seconds,
    like_times,
    make_bands,
    step_of,
)
from services.forecast.core.calendar import DAY_S, Calendar, calendar

HISTORY_DAYS = 56
RECENCY_HALF_LIFE_DAYS = 14.0
PRIOR_DAYS = 0.5

# A European household without electric heating, relative to its mean, by local hour 0..23. Our own
# rounded reading of published standard profiles (night trough, breakfast, lunch, evening peak).
_WORKING_DAY = (
    0.60, 0.52, 0.48, 0.47, 0.49, 0.60, 0.92, 1.08, 1.00, 0.95, 0.95, 1.02,
    1.10, 1.02, 0.92, 0.92, 1.02, 1.25, 1.55, 1.68, 1.60, 1.42, 1.15, 0.82,
)  # fmt: skip
_SATURDAY = (
    0.65, 0.55, 0.50, 0.48, 0.48, 0.52, 0.66, 0.88, 1.10, 1.22, 1.28, 1.32,
    1.36, 1.25, 1.15, 1.10, 1.15, 1.30, 1.48, 1.52, 1.42, 1.28, 1.08, 0.85,
)  # fmt: skip
_SUNDAY = (
    0.66, 0.56, 0.50, 0.48, 0.47, 0.49, 0.58, 0.78, 1.05, 1.22, 1.35, 1.50,
    1.52, 1.30, 1.12, 1.06, 1.10, 1.25, 1.48, 1.56, 1.45, 1.28, 1.05, 0.78,
)  # fmt: skip
_PROFILES = np.array([_WORKING_DAY, _SATURDAY, _SUNDAY])
# Five equally likely multiples of the profile: single homes are right-skewed around their mean.
_SPREAD = np.array([0.40, 0.62, 0.85, 1.13, 2.00])


def default_profile_w(
    second_of_day: IntArray, day_kind: IntArray, day_of_year: IntArray, annual_kwh: float
) -> FloatArray:
    """Mean power in W of a household of `annual_kwh` a year, 15 % more in mid-winter, 15 % less in summer."""
    hour = second_of_day / 3600.0
    whole = np.floor(hour - 0.5)
    fraction = hour - 0.5 - whole
    first = whole.astype(np.int64) % 24
    shape = (
        _PROFILES[day_kind, first] * (1 - fraction)
        + _PROFILES[day_kind, (first + 1) % 24] * fraction
    )
    season = 1.0 + 0.15 * np.cos(2.0 * np.pi * (day_of_year - 10) / 365.25)
    return np.asarray(shape * season * annual_kwh * 1000.0 / 8766.0, dtype=np.float64)


def weighted_quantiles(
    samples: FloatArray, weights: FloatArray, levels: tuple[float, ...]
) -> FloatArray:
    """Quantiles of each column of `samples` (k, m) under `weights` (k, m); NaN samples weigh nothing.

    Interpolates between the weighted order statistics at their mid-weights; returns (len(levels), m).
    """
    known = ~np.isnan(samples)
    weights = np.where(known, weights, 0.0)
    order = np.argsort(np.where(known, samples, np.inf), axis=0, kind="stable")
    values = np.take_along_axis(np.where(known, samples, 0.0), order, axis=0)
    sorted_weights = np.take_along_axis(weights, order, axis=0)
    cumulative = np.cumsum(sorted_weights, axis=0)
    total = cumulative[-1]
    position = (cumulative - 0.5 * sorted_weights) / np.where(total > 0, total, 1.0)
    position = np.where(sorted_weights > 0, position, 2.0)
    columns = np.arange(samples.shape[1])
    last = np.maximum((sorted_weights > 0).sum(axis=0) - 1, 0)
    result = np.empty((len(levels), samples.shape[1]))
    for row, level in enumerate(levels):
        above = np.minimum((position < level).sum(axis=0), last)
        below = np.maximum(above - 1, 0)
        left, right = position[below, columns], position[above, columns]
        gap = right - left
        share = np.where(gap > 0, (level - left) / np.where(gap > 0, gap, 1.0), 1.0)
        share = np.clip(share, 0.0, 1.0)
        result[row] = values[below, columns] * (1 - share) + values[above, columns] * share
    result[:, total <= 0] = np.nan
    return result


def seasonal_load(
    times_s: IntArray,
    history_times_s: IntArray,
    history_w: FloatArray,
    *,
    step_s: int = 900,
    time_zone: str = "UTC",
    country: str = "",
    subdivision: str = "",
    annual_kwh: float = 3500.0,
) -> Bands:
    """P10, P50, P90 and mean of the uncontrolled load in W for steps beginning at `times_s`.

    Every past day of the last 56 is a sample for the same wall-clock slot; it weighs by recency (half-life
    14 days) and by likeness of the day (same weekday > same kind of day > other). Kinds are working
    day, Saturday or bridge day, Sunday or holiday. A documented default household, scaled to the mean
    of the history or to `annual_kwh` where there is none, weighs as half a day, so that 0, 1, 3 and 14 days
    of history all give an answer. Steps of history and forecast may differ.

    Parameters
    ----------
    times_s, history_times_s
        Beginnings of steps in UTC epoch seconds, strictly increasing. History at or after the first
        forecast time is ignored.
    history_w
        Mean power in W of each historical step, NaN where missing.
    time_zone, country, subdivision
        IANA zone and ISO country (and region) for wall clock and holidays.

    Returns
    -------
    Bands
        Flags: history-missing (no history), history-short (under 7 days), history-gaps (over 20 % missing).
    """
    times_s = epoch_seconds("times_s", times_s)
    history_times_s = epoch_seconds("history_times_s", history_times_s)
    history_w = like_times("history_w", history_w, history_times_s)
    if not annual_kwh > 0:
        raise ValueError(f"annual_kwh: {annual_kwh} must be above 0")
    if len(times_s) == 0:
        return make_bands(np.empty(0), np.empty(0), np.empty(0))
    recent = (history_times_s < times_s[0]) & (history_times_s >= times_s[0] - HISTORY_DAYS * DAY_S)
    history_times_s, history_w = history_times_s[recent], history_w[recent]
    slot_s = max(step_s, step_of(history_times_s, step_s), 300)
    slots = -(-DAY_S // slot_s)
    flags: set[str] = set()

    target = calendar(times_s, time_zone, country, subdivision)
    past = calendar(history_times_s, time_zone, country, subdivision)
    matrix, kinds, weekdays, ages = _by_day(
        past, history_w, slot_s, slots, int(target.local_day[0])
    )
    known = ~np.isnan(matrix)
    days_known = float(known.sum()) / slots
    if days_known == 0:
        flags.add("history-missing")
    elif days_known < 7:
        flags.add("history-short")
    elif float(known.mean()) < 0.8:
        flags.add("history-gaps")

    known_history = ~np.isnan(history_w)
    scale = 1.0
    if days_known >= 0.5:
        expected = default_profile_w(
            past.second_of_day, past.day_kind, past.day_of_year, annual_kwh
        )[known_history]
        ratio = float(history_w[known_history].mean() / expected.mean())
        trust = min(1.0, days_known / 2.0)
        scale = max(ratio, 0.02) ** trust

    target_slot = target.second_of_day // slot_s
    prior_w = scale * default_profile_w(
        target.second_of_day + step_s // 2, target.day_kind, target.day_of_year, annual_kwh
    )
    quantiles = np.empty((3, len(times_s)))
    mean = np.empty(len(times_s))
    reach = 1 if slot_s <= 1800 else 0
    for day in np.unique(target.local_day):
        here = np.nonzero(target.local_day == day)[0]
        kind, weekday = int(target.day_kind[here[0]]), int(target.weekday[here[0]])
        age = ages + int(day) - int(target.local_day[0])
        day_weight = np.exp2(-age / RECENCY_HALF_LIFE_DAYS) * np.where(
            kinds == kind, np.where(weekdays == weekday, 1.5, 1.0), 0.15
        )
        columns = [(target_slot[here] + offset) % slots for offset in range(-reach, reach + 1)]
        samples = np.concatenate(
            [matrix[:, column] for column in columns] + [_SPREAD[:, None] * prior_w[here]]
        )
        weights = np.concatenate(
            [day_weight * (1.0 if 2 * i == len(columns) - 1 else 0.5) for i in range(len(columns))]
            + [np.full(len(_SPREAD), PRIOR_DAYS / len(_SPREAD))]
        )
        grid = np.broadcast_to(weights[:, None], samples.shape)
        quantiles[:, here] = weighted_quantiles(samples, grid, (0.1, 0.5, 0.9))
        present = np.where(np.isnan(samples), 0.0, grid)
        mean[here] = (np.nan_to_num(samples) * present).sum(axis=0) / present.sum(axis=0)
    quantiles = np.maximum(quantiles, 0.0)
    low, median, high = quantiles
    return make_bands(low, median, high, flags, np.maximum(mean, 0.0))


def _by_day(
    past: Calendar, history_w: FloatArray, slot_s: int, slots: int, first_target_day: int
) -> tuple[FloatArray, IntArray, IntArray, IntArray]:
    """History as (days, slots) of mean power, with each day's kind, weekday and age in days."""
    days, inverse = np.unique(past.local_day, return_inverse=True)
    cell = inverse * slots + np.minimum(past.second_of_day // slot_s, slots - 1)
    known = ~np.isnan(history_w)
    size = len(days) * slots
    counts = np.bincount(cell[known], minlength=size)
    sums = np.bincount(cell[known], weights=history_w[known], minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.where(counts > 0, sums / counts, np.nan).reshape(len(days), slots)
    first_index = np.zeros(len(days), dtype=np.int64)
    first_index[inverse[::-1]] = np.arange(len(inverse))[::-1]
    ages = np.maximum(first_target_day - days, 0)
    return matrix, past.day_kind[first_index], past.weekday[first_index], ages
