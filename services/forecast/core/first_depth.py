"""The methods that need no training: what the house forecasts with until a learnt model beats them.

Same shape as `Predictor.predict`, so that both stand before the same judge.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.forecast.core.bands import Bands, IntArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.load_seasonal import HISTORY_DAYS, seasonal_load
from services.forecast.core.place import Place
from services.forecast.core.price_seasonal import seasonal_price
from services.forecast.core.pv_physics import pv_physics
from services.forecast.core.series import Dataset
from services.forecast.core.solar import sun_path
from services.forecast.core.weather import Weather

PRICE_DAYS = 28
METHODS = {
    "pv": "pvlib physics", "load": "seasonal by kind of day", "price": "published, then like days",
}  # fmt: skip
DISAGREEMENT_FULL = 0.3
"""Share of clear sky by which two runs must differ for the widest band."""
DISAGREEMENT_WIDER = 0.5

Predict = Callable[[Dataset, int, IntArray], Bands]


def first_depth(kind: str, place: Place) -> Predict:
    """The untrained method of a kind; `predict(data, issue_s, target_s)` returns its bands.

    `data` is cut at the issue, prices excepted: what is published beyond the issue is known.
    """
    return {"pv": _pv, "load": _load, "price": _price}[kind](place)


def _pv(place: Place) -> Predict:
    def predict(data: Dataset, issue_s: int, target_s: IntArray) -> Bands:
        location, step_s = place.location, data.series.step_s
        if location is None or data.weather is None or not place.arrays:
            nothing = np.full(len(target_s), np.nan)
            return Bands(nothing, nothing, nothing, None, ("weather-missing",))
        issue = np.full(len(target_s), issue_s, dtype=np.int64)
        columns = {
            name: data.weather.between(name, issue, target_s, step_s)
            for name in data.weather.columns
            if name in Weather.__slots__
        }
        sun = sun_path(target_s, step_s, location)
        bands = pv_physics(
            target_s, location, place.arrays, Weather(**columns), step_s=step_s,
            inverter_limit_w=place.inverter_limit_w, sun=sun,
        )  # fmt: skip
        if "ghi" not in data.weather.columns:
            return bands
        change = np.nan_to_num(data.weather.spread("ghi", issue, target_s))
        share = np.clip(change / np.maximum(sun.clear_ghi_wm2, 100.0) / DISAGREEMENT_FULL, 0.0, 1.0)
        wider = 1.0 + DISAGREEMENT_WIDER * share
        low = np.maximum(0.0, bands.p50 - (bands.p50 - bands.p10) * wider)
        high = bands.p50 + (bands.p90 - bands.p50) * wider
        if place.inverter_limit_w is not None:
            high = np.maximum(bands.p50, np.minimum(high, place.inverter_limit_w))
        return Bands(low, bands.p50, high, None, bands.flags)

    return predict


def _load(place: Place) -> Predict:
    def predict(data: Dataset, issue_s: int, target_s: IntArray) -> Bands:
        past = data.before(issue_s, HISTORY_DAYS).series
        return seasonal_load(
            target_s, past.times_s, past.values, step_s=past.step_s, time_zone=place.time_zone,
            country=place.country, subdivision=place.subdivision, annual_kwh=place.annual_kwh,
        )  # fmt: skip

    return predict


def _price(place: Place) -> Predict:
    def predict(data: Dataset, issue_s: int, target_s: IntArray) -> Bands:
        end = data.series.end_s
        known = data.series.between(end - PRICE_DAYS * DAY_S, end)
        return seasonal_price(known, issue_s, target_s, place)

    return predict
