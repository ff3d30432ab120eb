"""Forecasts on the planning grid: medians or drawn paths, published prices, what was just measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from contracts import grid
from contracts.events.forecast import ForecastIssued
from contracts.site import SiteConfig
from services.optimizer.core.prices import build_prices

Floats = NDArray[np.float64]

LOAD_MEMORY_H = 1.0
"""Time in which the error of a load forecast fades to 1/e: on the two recorded houses an error
holds on to 59 % and 40 % after half an hour and an hour (France), 45 % after an hour (Konstanz)."""


def step_means(values: Floats, forecast: ForecastIssued, edges: Sequence[datetime]) -> Floats:
    """Values on a forecast's steps as means over the steps between ``edges``.

    Beyond the forecast's end its last day is repeated.

    Raises
    ------
    ValueError
        when the forecast begins after the first step or is shorter than a day.
    """
    day = 86_400 // forecast.step_s
    if forecast.start > edges[0] or len(values) < day:
        raise ValueError(f"forecast {forecast.quantity} does not cover the horizon")
    result = np.empty(len(edges) - 1)
    for i, (begin, end) in enumerate(pairwise(edges)):
        low = int((begin - forecast.start).total_seconds() // forecast.step_s)
        high = max(low + 1, int((end - forecast.start).total_seconds() // forecast.step_s))
        index = np.arange(low, high)
        beyond = np.maximum(0, -(-(index - len(values) + 1) // day))
        result[i] = float(np.mean(values[index - beyond * day]))
    return result


def nowcast(load_w: Floats, edges: Sequence[datetime], error_w: float) -> Floats:
    """A load forecast corrected by its present error, W, which fades with ``LOAD_MEMORY_H``."""
    middle_h = np.array(
        [((a - edges[0]) + (b - edges[0])).total_seconds() / 7_200 for a, b in pairwise(edges)]
    )
    return np.maximum(load_w + error_w * np.exp(-middle_h / LOAD_MEMORY_H), 0.0)


def prices(
    site: SiteConfig,
    spot_eur_per_mwh: Floats,
    forecast: ForecastIssued,
    published: Mapping[int, float],
    edges: Sequence[datetime],
) -> tuple[Floats, Floats]:
    """Buying and selling price of each step, EUR/kWh, tariff hours by quarter hour.

    ``published`` (quarter hour's start in epoch seconds -> EUR/MWh) is fact and wins.
    """
    start, count = edges[0], int((edges[-1] - edges[0]).total_seconds()) // grid.QUARTER_S
    quarters = [start + timedelta(seconds=grid.QUARTER_S * k) for k in range(count + 1)]
    spot = step_means(spot_eur_per_mwh, forecast, quarters)
    for k, quarter in enumerate(quarters[:-1]):
        spot[k] = published.get(int(quarter.timestamp()), spot[k])
    buy, sell = build_prices(
        site.tariff, site.location.zone, start, grid.QUARTER_S, spot.tolist(), start,
        [int((end - begin).total_seconds()) for begin, end in pairwise(edges)],
    )  # fmt: skip
    return np.array(buy), np.array(sell)
