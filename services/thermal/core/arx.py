"""A room's temperature one step ahead from its own past and the inputs, run on from there (ARX).

L. Ljung, System Identification, 1999, ch. 4: ridge regression of the change over half an hour on the
room's last temperatures, the outdoor temperature, its own heating and that of all others together,
the sun and the hour, then recursion with the inputs that come. What it learns in a few days it
learns from every step; noise of the sensors it takes for dynamics. Where the room's heating is a
valve behind a heating curve, the heating times the cold outside is an input, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import COLD_SUFFIX, RoomModel
from services.thermal.core.features import View, centre_and_scale, heat_groups
from services.thermal.core.gains import cold_factor

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

STEP_S = 1800
OWN_LAGS, INPUT_LAGS = 3, 2
RIDGE = 1e-3
LOWEST_C, HIGHEST_C = -30.0, 60.0
FEWEST_PER_WEIGHT = 5


@dataclass(frozen=True)
class Arx:
    """Weights over a constant, own lags and lagged inputs, standardised; missing inputs count as
    their mean. `curve`: heating times cold is among the inputs."""

    mean: Array
    scale: Array
    weight: Array
    curve: bool


@dataclass(frozen=True)
class RoomSeries:
    """What the recursion of one room reads, a step being `stride` rows: `inputs` (T, k) are means
    over the step that begins at each row; `own_c` (T,) is the temperature."""

    curve: bool
    stride: int
    own_c: Array
    inputs: Array

    def past(self, rows: IntArray) -> Array:
        """(len(rows), OWN_LAGS) temperatures at and before `rows`, newest first."""
        places = rows[:, None] - self.stride * np.arange(OWN_LAGS)
        return np.where(places >= 0, self.own_c[np.maximum(places, 0)], np.nan)

    def lagged(self, rows: IntArray) -> Array:
        """(len(rows), INPUT_LAGS k) inputs of the step from `rows` and of those before."""
        places = np.clip(rows[:, None] - self.stride * np.arange(INPUT_LAGS), 0, len(self.inputs) - 1)
        return np.hstack([self.inputs[column] for column in places.T])


def behind_curve(room: RoomModel) -> bool:
    """Whether the model found the room's heating to be a valve behind a heating curve."""
    return any(share.source.endswith(COLD_SUFFIX) for share in room.heat_shares)


def room_series(view: View, i: int, curve: bool) -> RoomSeries:
    """Of room i; `curve` says whether its heating is a valve behind a heating curve."""
    stride = max(1, STEP_S // view.history.step_s)
    rows = np.arange(len(view.held_c))
    means = view.means(rows, rows + stride)
    heats = [means[:, group].sum(axis=1) for group in heat_groups(view, i)]
    outside, ghi, dni = (means[:, view.inputs.index(name)] for name in ("outside", "ghi", "dni"))
    if curve:
        heats.append(heats[0] * cold_factor(outside))
    return RoomSeries(
        curve, stride, view.held_c[:, i], np.column_stack([outside, ghi, dni, *heats, view.hour])
    )


def fit_arx(series: RoomSeries, weight: Array) -> Arx | None:
    """Fit the steps that begin at rows of positive `weight` (T,); None if there are too few."""
    rows = np.flatnonzero(weight[: len(weight) - series.stride] > 0.0)
    past = series.past(rows)
    target = series.own_c[rows + series.stride] - past[:, 0]
    complete = np.isfinite(past).all(axis=1) & np.isfinite(target)
    rows, past, target = rows[complete], past[complete], target[complete]
    table = np.hstack([past, series.lagged(rows)])
    if len(rows) < FEWEST_PER_WEIGHT * table.shape[1] * series.stride:
        return None
    mean, scale = centre_and_scale(table)
    design = _design(table, mean, scale)
    scaled = design * weight[rows, None]
    penalty = RIDGE * weight[rows].sum() * np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    weights = np.linalg.solve(scaled.T @ design + penalty, scaled.T @ target)
    return Arx(mean, scale, np.asarray(weights), series.curve)


def run_arx(model: Arx, series: RoomSeries, rows: IntArray, lead_rows: Sequence[int]) -> Array:
    """(leads, rows) temperatures forecast from `rows`, linear between steps; NaN where the room's
    own past is incomplete."""
    steps = -(-max(lead_rows) // series.stride)
    past = series.past(rows)
    path = np.empty((steps + 1, len(rows)))
    path[0] = past[:, 0]
    for k in range(steps):
        table = np.hstack([past, series.lagged(rows + k * series.stride)])
        following = path[k] + _design(table, model.mean, model.scale) @ model.weight
        path[k + 1] = np.where(
            np.isfinite(past).all(axis=1), np.clip(following, LOWEST_C, HIGHEST_C), np.nan
        )
        past = np.column_stack([path[k + 1], past[:, :-1]])
    place = np.asarray(lead_rows) / series.stride
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, steps)
    share = (place - low)[:, None]
    return np.asarray((1.0 - share) * path[low] + share * path[high])


def _design(table: Array, mean: Array, scale: Array) -> Array:
    return np.column_stack([np.ones(len(table)), np.nan_to_num((table - mean) / scale)])
