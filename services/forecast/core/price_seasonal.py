"""Electricity price without training: exact where the market has published, the recent like days beyond."""

from __future__ import annotations

import warnings

import numpy as np

from services.forecast.core.bands import LEVELS, Bands, FloatArray, IntArray, make_bands
from services.forecast.core.calendar import DAY_S
from services.forecast.core.lags import Lags, make_lags, row_mean, row_quantiles, window_mean
from services.forecast.core.place import Place
from services.forecast.core.price_hours import through_hours
from services.forecast.core.series import Dataset, Series

DEPTH_DAYS = 28
SHORT_DAYS = 14
HALF_LIFE_DAYS = 10.0
LEVEL_HALF_LIFE_DAYS = 1.0
LEVEL_TRUST = 0.5
"""Of what the last days lie above others of their kind, so much is carried on."""
UNLIKE_LEVEL = 0.3
"""What a Sunday's rise says of a working day's, and the other way round."""
WIDER_DAYS = 4.0
"""Days of which the extremes are too near each other: the band is wider by these over the days known."""
LEAST_SPREAD_EUR_MWH, LEAST_SHARE = 8.0, 0.2


def like_days(lags: Lags) -> FloatArray:
    """(n, 4) P10, P50, P90 and mean, EUR/MWh, of hours from those of the same wall-clock time before.

    Days of the same kind count, the newer the more, moved by half of what the last days lay above others of
    their kind.
    The mean serves as the median, too: of a handful of days it is the steadier. NaN where nothing is known.
    Constants chosen on Czech hours of 2017 to 2024 (docs/forecasts.md).
    """
    samples, back = lags.samples, np.arange(lags.samples.shape[1])
    age = lags.first_lag[:, None] + back
    issues, of_issue = np.unique(lags.issue_local_s, return_inverse=True)
    ends = issues[:, None] - back * DAY_S  # of the day before the issue, and so on, that the samples are of
    total = window_mean(lags.wall, ends - DAY_S, ends)[of_issue]
    like, newer = lags.likeness >= 0.5, np.exp2(-age / HALF_LIFE_DAYS)
    usual = [row_mean(total, newer * days)[:, None] for days in (like, ~like)]
    recent = np.exp2(-back / LEVEL_HALF_LIFE_DAYS) * np.where(like, 1.0, UNLIKE_LEVEL)
    risen = np.nan_to_num(row_mean(total - np.where(like, *usual), recent))
    moved, weight = samples + LEVEL_TRUST * risen[:, None], lags.likeness * newer
    low, _, high = row_quantiles(moved, weight, LEVELS).T
    middle = row_mean(moved, weight)
    wider = 1.0 + WIDER_DAYS / np.maximum((~np.isnan(samples)).sum(axis=1), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row without samples is NaN, as it should be
        least = LEAST_SHARE * np.maximum(np.nanstd(samples, axis=1), LEAST_SPREAD_EUR_MWH)
    below, above = np.maximum(wider * (middle - low), least), np.maximum(wider * (high - middle), least)
    return np.column_stack([middle - below, middle, middle + above, middle])


def seasonal_price(series: Series, issue_s: int, target_s: IntArray, place: Place) -> Bands:
    """P10, P50, P90 and mean of the price in EUR/MWh for steps beginning at `target_s` (UTC epoch seconds).

    `series` is what the market has published so far, before the issue and after it; NaN is not published.

    Returns
    -------
    Bands
        Flags: price-extrapolated (some steps not published), history-short (under 14 days to learn
        from), price-missing (nothing to go by: those steps are NaN).
    """

    def of_hours(hours: Series, origin_s: int, ahead_s: IntArray) -> Bands:
        issue = np.full(len(ahead_s), origin_s, dtype=np.int64)
        found = like_days(make_lags(Dataset(hours), issue, ahead_s, place, DEPTH_DAYS))
        known = (~np.isnan(hours.values)).sum() * hours.step_s
        flags = {"history-short"} if known < SHORT_DAYS * DAY_S else set()
        flags |= {"price-missing"} if bool(np.isnan(found).any()) else set()
        return make_bands(found[:, 0], found[:, 1], found[:, 2], flags, found[:, 3])

    return through_hours(series, issue_s, target_s, of_hours)
