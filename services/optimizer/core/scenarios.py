"""Possible futures drawn from the forecast bands, the same ones in every process.

A path moves through the bands like a first-order autoregressive Gaussian (a Gaussian copula,
Pinson et al. 2009), each side of the median with its own width (split normal, Wallis 2014).
The random numbers belong to quarter hours of the calendar, not to the plan: the next hour's plan
sees the same weather in the same quarter hour, so that a plan does not change only because other
dice were thrown. PV, load and price are drawn independently of each other.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from contracts import grid
from contracts.events.forecast import ForecastIssued

Floats = NDArray[np.float64]

CORRELATION_H = {"pv": 3.0, "load": 1.2, "price": 6.0}
"""Used when the forecast does not say; load measured (see `on_grid.LOAD_MEMORY_H`), others assumed."""
_QUANTITIES = tuple(sorted(CORRELATION_H))
_Z90 = float(ndtri(0.9))
_MOST = 20
_DAY_S = 86_400


def paths(forecast: ForecastIssued, count: int) -> Floats:
    """(count, steps) equally likely paths in the forecast's unit, in antithetic pairs."""
    steps = len(forecast.p50)
    hours = forecast.correlation_h or CORRELATION_H[forecast.quantity]
    keep = float(np.exp(-forecast.step_s / 3_600 / hours))
    noise = _noise(forecast.quantity, forecast.start, forecast.step_s, steps)[: -(-count // 2)]
    z = np.empty_like(noise)
    z[:, 0] = noise[:, 0]
    for step in range(1, steps):
        z[:, step] = keep * z[:, step - 1] + np.sqrt(1 - keep**2) * noise[:, step]
    both = np.empty((2 * len(z), steps))
    both[0::2], both[1::2] = z, -z
    middle = np.array(forecast.p50)
    low, high = middle - np.array(forecast.p10), np.array(forecast.p90) - middle
    found = middle + np.where(both < 0, low, high)[:count] * both[:count] / _Z90
    lowest = -np.inf if forecast.quantity == "price" else 0.0
    return np.asarray(np.maximum(found, lowest), dtype=np.float64)


def _noise(quantity: str, start: datetime, step_s: int, steps: int) -> Floats:
    """Independent normal numbers that belong to their slots of the calendar."""
    first = int(start.timestamp())
    per_day = _DAY_S // grid.QUARTER_S
    days: dict[int, Floats] = {}
    columns = []
    for step in range(steps):
        day, second = divmod(first + step * step_s, _DAY_S)
        if day not in days:
            seed = np.random.default_rng([_QUANTITIES.index(quantity), day])
            days[day] = seed.standard_normal((_MOST // 2, per_day))
        columns.append(days[day][:, second // grid.QUARTER_S])
    return np.array(columns).T
