"""Prices in hours and in the steps of the market: what is published is exact, quarters follow their hours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.forecast.core.bands import Bands, FloatArray, IntArray, make_bands
from services.forecast.core.calendar import DAY_S
from services.forecast.core.series import Series

HOUR_S = 3600
SHAPE_DAYS = 42

OfHours = Callable[[Series, int, IntArray], Bands]
"""From the hours known, and from an instant on, the bands of the hours that begin at some times."""


def through_hours(series: Series, issue_s: int, target_s: IntArray, of_hours: OfHours) -> Bands:
    """Bands of steps as long as those of `series`, an hour at most: published ones exact, the others by way
    of their hours.

    `series` is what the market has published, before the issue and after it.
    """
    step_s = series.step_s
    hours_all = hourly(series)
    hours = np.unique(target_s // HOUR_S * HOUR_S)
    origin = max(issue_s // HOUR_S * HOUR_S, hours_all.end_s)
    ahead = hours[hours >= origin]
    flags: tuple[str, ...] = ()
    if len(ahead):
        coarse = of_hours(hours_all, origin, ahead)
        flags = coarse.flags
        index = np.clip(np.searchsorted(ahead, target_s // HOUR_S * HOUR_S), 0, len(ahead) - 1)
        values = np.stack(
            [a[index] for a in (coarse.p10, coarse.p50, coarse.p90, coarse.expected)], axis=1
        )
    else:
        values = np.full((len(target_s), 4), np.nan)
    if step_s < HOUR_S and len(ahead):
        apart, scatter = within_hour(series, ahead, coarse.p50, target_s)
        values += apart[:, None]
        low = np.hypot(values[:, 1] - values[:, 0], scatter)
        high = np.hypot(values[:, 2] - values[:, 1], scatter)
        values[:, 0], values[:, 2] = values[:, 1] - low, values[:, 1] + high
    known = ~np.isnan(series.values)
    exact = price_at(target_s, step_s, series.times_s[known], series.values[known])
    values = np.where(np.isnan(exact)[:, None], values, exact[:, None])
    found = {*flags, "price-extrapolated"} if bool(np.isnan(exact).any()) else set()
    return make_bands(values[:, 0], values[:, 1], values[:, 2], found, values[:, 3])


def price_at(
    times_s: IntArray, step_s: int, published_times_s: IntArray, published_eur_mwh: FloatArray
) -> FloatArray:
    """Published price of each step in EUR/MWh, NaN where any part of the step is not published.

    A published value holds until the next one, at most an hour, so hourly and quarter-hour markets
    (and the day a market changes over) need no setting; a step that spans several values gets their mean.
    """
    n = len(times_s)
    if len(published_times_s) == 0 or n == 0:
        return np.full(n, np.nan)
    gaps = np.diff(published_times_s)
    last = gaps[-1] if len(gaps) else 3600
    lengths = np.minimum(np.append(gaps, last), 3600)
    part_s = int(np.gcd(step_s, 900))
    parts = max(step_s // part_s, 1)
    instants = (times_s[:, None] + np.arange(parts) * part_s).ravel()
    index = np.searchsorted(published_times_s, instants, side="right") - 1
    safe = np.maximum(index, 0)
    held = (index >= 0) & (instants - published_times_s[safe] < lengths[safe])
    values = np.where(held, published_eur_mwh[safe], np.nan).reshape(n, parts)
    return np.asarray(values.mean(axis=1), dtype=np.float64)


def hourly(series: Series) -> Series:
    """Hourly means; an hour with less than half of its steps known is NaN, an unfinished last hour is cut."""
    if series.step_s >= HOUR_S:
        return series
    parts = HOUR_S // series.step_s
    skip = int((-series.start_s % HOUR_S) // series.step_s)
    values = series.values[skip:]
    values = values[: len(values) // parts * parts].reshape(-1, parts)
    known = (~np.isnan(values)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(
            known * 2 >= parts, np.nansum(values, axis=1) / np.maximum(known, 1), np.nan
        )
    return Series(series.start_s + skip * series.step_s, HOUR_S, mean)


def within_hour(
    series: Series, hours_s: IntArray, price: FloatArray, target_s: IntArray
) -> tuple[FloatArray, float]:
    """How far each step (n,) lies from its hour in EUR/MWh, and the half-width that holds 80 % of what is left.

    Steps follow the way from the hour before to the hour after: a least-squares line of the last 42 days on
    slope and bend of the hours' prices, a line for each part of the hour. `price` (h,): the forecast of the
    hours beginning at `hours_s`, which follow what `series` knows.
    """
    recent = series.between(series.end_s - SHAPE_DAYS * DAY_S, series.end_s)
    hours = hourly(recent)
    parts = HOUR_S // series.step_s
    steps = recent.at(hours.times_s[:, None] + np.arange(parts) * series.step_s)
    deviation = steps - hours.values[:, None]
    known = ~np.isnan(hours.values)
    times, values = hours.times_s[known], hours.values[known]
    # An hour of equal steps is one of a market that traded hours then.
    rows = ~np.isnan(deviation).any(axis=1) & (np.ptp(steps, axis=1) > 0)
    if not rows.any():
        return np.zeros(len(target_s)), 0.0
    way = _way(times, values, hours.times_s[rows])
    lines = np.linalg.lstsq(way, deviation[rows])[0]
    scatter = float(np.quantile(np.abs(deviation[rows] - way @ lines), 0.8))
    times, values = np.append(times, hours_s), np.append(values, price)
    ahead = _way(times, values, target_s // HOUR_S * HOUR_S)
    part = target_s % HOUR_S // series.step_s
    return np.asarray(np.einsum("nk,kn->n", ahead, lines[:, part])), scatter


def _way(times_s: IntArray, price: FloatArray, at_s: IntArray) -> FloatArray:
    """Columns (n, 3) of hours: one, the step from the hour before to the hour after, and the bend between."""
    before, own, after = (np.interp(at_s + shift, times_s, price) for shift in (-HOUR_S, 0, HOUR_S))
    return np.column_stack([np.ones(len(at_s)), after - before, after - 2.0 * own + before])
