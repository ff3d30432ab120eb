"""What a forecast must beat: persistence, same time yesterday, and an ARX model per room.

The ARX model (L. Ljung, System Identification, 1999, ch. 4) predicts one step from the room's own
past, the outdoor temperature, the heating, the sun on the planes and the hour, fitted by ridge
regression on the training part, and is run recursively with the same known inputs as ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.thermal.core.history import PLANES, History, training_inputs

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

OWN_LAGS = 4
INPUT_LAGS = 2
RIDGE = 1e-3


@dataclass(frozen=True)
class Arx:
    """One room's ARX: intercept and weights over own lags and lagged inputs, standardised."""

    weight: Array
    mean: Array
    scale: Array
    own_lags: int
    input_lags: int


def arx_inputs(
    history: History, latitude_deg: float, longitude_deg: float, time_zone: str
) -> Array:
    """(T, k) exogenous inputs, the same series that our model gets."""
    names = ["outside", *sorted(history.heat_w), *PLANES, "hour_1", "hour_2", "hour_3", "hour_4"]
    table, _ = training_inputs(history, names, latitude_deg, longitude_deg, time_zone)
    return table


def _regressors(series: Array, inputs: Array, rows: IntArray) -> Array:
    own = [series[rows - k] for k in range(OWN_LAGS)]
    others = [inputs[rows - k] for k in range(INPUT_LAGS)]
    return np.column_stack([*own, *others])


def fit_arx(series: Array, inputs: Array) -> Arx | None:
    """Fit series[t + 1] from lags at t; None if there are too few complete rows."""
    first = max(OWN_LAGS, INPUT_LAGS) - 1
    rows = np.arange(first, len(series) - 1)
    table = _regressors(series, inputs, rows)
    target = series[rows + 1] - series[rows]
    complete = np.isfinite(table).all(axis=1) & np.isfinite(target)
    if complete.sum() < 5 * table.shape[1]:
        return None
    table, target = table[complete], target[complete]
    mean, scale = table.mean(axis=0), table.std(axis=0) + 1e-9
    design = np.column_stack([np.ones(len(table)), (table - mean) / scale])
    penalty = RIDGE * len(table) * np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    weight = np.linalg.solve(design.T @ design + penalty, design.T @ target)
    return Arx(weight, mean, scale, OWN_LAGS, INPUT_LAGS)


def run_arx(model: Arx, series: Array, inputs: Array, origins: IntArray, horizon: int) -> Array:
    """(horizon, origins) recursive forecasts; NaN where the origin's own past is incomplete."""
    past = np.array([series[origins - k] for k in range(model.own_lags)])
    result = np.empty((horizon, len(origins)))
    for h in range(horizon):
        others = np.column_stack([inputs[origins + h - k] for k in range(model.input_lags)])
        row = (np.column_stack([past.T, others]) - model.mean) / model.scale
        following = past[0] + model.weight[0] + row @ model.weight[1:]
        result[h] = np.clip(following, -30.0, 60.0)
        past = np.vstack([following[None], past[:-1]])
    return result
