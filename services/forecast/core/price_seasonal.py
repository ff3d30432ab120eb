"""Electricity price: exact where the market has published, last week's shape beyond."""

from __future__ import annotations

import numpy as np

from services.forecast.core.bands import (
    Bands,
    BoolArray,
    FloatArray,
    IntArray,
    epoch_seconds,
    like_times,
    make_bands,
)
from services.forecast.core.calendar import DAY_S, calendar, local_seconds, utc_from_local

RESIDUAL_DAYS = 28
_DEFAULT_SPREAD = 0.35


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


def seasonal_price(
    times_s: IntArray,
    published_times_s: IntArray,
    published_eur_mwh: FloatArray,
    *,
    step_s: int = 900,
    time_zone: str = "UTC",
    country: str = "",
    subdivision: str = "",
) -> Bands:
    """P10, P50, P90 of the price in EUR/MWh for steps beginning at `times_s` (UTC epoch seconds).

    Published steps have P10 = P50 = P90 = the published price. Beyond them the median is the price at the
    same wall-clock time a week (else two, three, four weeks, else the nearest day) before; a holiday
    takes the last Sunday or holiday instead. The band adds the 10 % and 90 % quantiles of what the
    same rule missed over the last 28 days, by hour of day.

    Parameters
    ----------
    published_times_s, published_eur_mwh
        What the market has published so far, past included; NaN means not published.

    Returns
    -------
    Bands
        Flags: price-extrapolated (some steps not published), history-short (under 14 days to learn the
        spread from), price-missing (nothing to go by: those steps are NaN).
    """
    times_s = epoch_seconds("times_s", times_s)
    published_times_s = epoch_seconds("published_times_s", published_times_s)
    published_eur_mwh = like_times("published_eur_mwh", published_eur_mwh, published_times_s)
    known = ~np.isnan(published_eur_mwh)
    published_times_s, published_eur_mwh = published_times_s[known], published_eur_mwh[known]
    median = price_at(times_s, step_s, published_times_s, published_eur_mwh)
    low, high = median.copy(), median.copy()
    ahead = np.isnan(median)
    flags: set[str] = set()
    if not ahead.any():
        return make_bands(low, median, high)
    flags.add("price-extrapolated")

    target = times_s[ahead]
    guess = last_like(
        target, step_s, published_times_s, published_eur_mwh, time_zone, country, subdivision
    )
    offsets = _residual_quantiles(
        target, published_times_s, published_eur_mwh, time_zone, country, subdivision
    )
    if offsets is None:
        flags.add("history-short")
        spread = _DEFAULT_SPREAD * np.maximum(np.abs(guess), 30.0)
        offsets = (-spread, spread)
    low[ahead] = guess + np.minimum(offsets[0], 0.0)
    median[ahead] = guess
    high[ahead] = guess + np.maximum(offsets[1], 0.0)
    if bool(np.isnan(guess).any()):
        flags.add("price-missing")
    return make_bands(low, median, high, flags)


def last_like(
    times_s: IntArray,
    step_s: int,
    published_times_s: IntArray,
    published_eur_mwh: FloatArray,
    time_zone: str,
    country: str = "",
    subdivision: str = "",
) -> FloatArray:
    """Price at the same wall-clock time on the last like day: last week, or last Sunday for a holiday."""
    local = local_seconds(times_s, time_zone)
    days = calendar(times_s, time_zone, country, subdivision)
    result = np.full(len(times_s), np.nan)

    def take(lag_days: int | IntArray, wanted: BoolArray) -> None:
        rows = np.nonzero(wanted & np.isnan(result))[0]
        if len(rows):
            lag = lag_days if isinstance(lag_days, int) else lag_days[rows]
            source = utc_from_local(local[rows] - lag * DAY_S, time_zone)
            before = np.where(source < times_s[rows], source, times_s[rows] - 7 * DAY_S)
            order = np.argsort(before, kind="stable")
            values = price_at(before[order], step_s, published_times_s, published_eur_mwh)
            result[rows[order]] = values

    everything = np.ones(len(times_s), dtype=np.bool_)
    sunday_lag = np.where(days.weekday == 6, 7, days.weekday + 1)
    take(sunday_lag, days.holiday)
    for lag in (7, 14, 21, 28, 1, 2, 3, 4, 5, 6):
        take(lag, everything)
    return result


def _residual_quantiles(
    target_s: IntArray,
    published_times_s: IntArray,
    published_eur_mwh: FloatArray,
    time_zone: str,
    country: str,
    subdivision: str,
) -> tuple[FloatArray, FloatArray] | None:
    """10 % and 90 % quantiles of the rule's recent misses at each target's hour; None if under 14 days."""
    if len(published_times_s) == 0:
        return None
    hours = published_times_s[-1] // 3600 * 3600 - np.arange(RESIDUAL_DAYS * 24)[::-1] * 3600
    actual = price_at(hours, 3600, published_times_s, published_eur_mwh)
    guess = last_like(
        hours, 3600, published_times_s, published_eur_mwh, time_zone, country, subdivision
    )
    misses = actual - guess
    local_hour = calendar(hours, time_zone).second_of_day // 3600
    if int((~np.isnan(misses)).sum()) < 14 * 24:
        return None
    low, high = np.empty(24), np.empty(24)
    for hour in range(24):
        near = misses[np.isin(local_hour, [(hour - 1) % 24, hour, (hour + 1) % 24])]
        near = near[~np.isnan(near)]
        low[hour], high[hour] = np.quantile(near, [0.1, 0.9]) if len(near) else (np.nan, np.nan)
    at = calendar(target_s, time_zone).second_of_day // 3600
    return low[at], high[at]
