"""Forecasts that the physics model would have issued in the past, with the inputs that came."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel
from services.thermal.core.discretise import (
    FIRST_ROOM_INPUT,
    GROUND,
    OUTSIDE,
    discretise,
    layout_of,
)
from services.thermal.core.drive import Drive
from services.thermal.core.filter import FilterState, StepInputs, filter_step, initial_state
from services.thermal.core.history import History
from services.thermal.core.thermostat import Thermostats, gain_of

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

CHUNK = 512
"""Runs advanced together: bounds the memory."""


@dataclass(frozen=True)
class Filtered:
    """States of the filter at chosen rows, and (rooms,) mean squared innovation over its variance."""

    rows: IntArray
    states: tuple[FilterState, ...]
    innovation_ratio: Array

    @property
    def means(self) -> Array:
        """(rows, states) the filter's means."""
        return np.array([state.mean for state in self.states])


def run_filter(
    model: HouseModel,
    history: History,
    drive: Drive,
    first: int,
    rows: IntArray,
    judged_from: int = 0,
    state: FilterState | None = None,
) -> Filtered:
    """Filter along the history from row `first`, keeping the states at `rows` (sorted, after it).

    Innovations count from row `judged_from`. `state` is that at `first`, when it is known.
    """
    measured = history.temperature_c
    if state is None:
        state = initial_state(
            model, int(history.epoch_s[first]), list(measured[first]), float(drive.outside_c[first])
        )
    wanted = set(rows.tolist())
    kept = []
    total, count = np.zeros(len(model.rooms)), np.zeros(len(model.rooms))
    index = {name: i for i, name in enumerate(model.room_names)}
    for t in range(first + 1, int(rows[-1]) + 1 if len(rows) else first + 1):
        state, innovations = filter_step(
            model,
            state,
            StepInputs(
                history.step_s,
                float(drive.outside_c[t - 1]),
                [
                    float(power) if known else None
                    for power, known in zip(drive.heat_w[t - 1], drive.known[t - 1], strict=True)
                ],
                list(drive.air_gain_w[t - 1]),
                list(drive.mass_gain_w[t - 1]),
            ),
            list(measured[t]),
        )
        for item in innovations:
            if item.accepted and t >= judged_from:
                i = index[item.room]
                total[i] += (item.residual_c / item.standard_deviation_c) ** 2
                count[i] += 1
        if t in wanted:
            kept.append(state)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Filtered(rows, tuple(kept), total / count)


def free_runs(
    model: HouseModel, drive: Drive, step_s: int, rows: IntArray, means: Array, lead_rows: IntArray,
    regulated: tuple[Thermostats, History] | None = None,
) -> Array:  # fmt: skip
    """(rows, leads, rooms) temperatures predicted from the `means` of states at `rows`; NaN past
    the end of the inputs and where an input of the room was unknown on the way. With thermostats and
    the history of their heating, rooms are held at their set points where these are at work."""
    dynamics = discretise(model, step_s)
    steps, rooms = drive.heat_w.shape
    inputs = np.empty((steps, FIRST_ROOM_INPUT + 3 * rooms))
    inputs[:, OUTSIDE] = drive.outside_c
    inputs[:, GROUND] = model.ground_temperature_c
    inputs[:, FIRST_ROOM_INPUT:] = np.hstack([drive.heat_w, drive.habit_air_w, drive.mass_gain_w])
    driven = inputs @ dynamics.B.T
    unknown = np.vstack([np.zeros((1, rooms)), np.cumsum(~drive.known, axis=0)])
    bias = np.array([room.sensor_bias_c for room in model.rooms])
    air = dynamics.layout.air
    result = np.full((len(rows), len(lead_rows), rooms), np.nan)
    place = {int(lead): n for n, lead in enumerate(lead_rows)}
    transposed = np.ascontiguousarray(dynamics.A.T)
    if regulated is not None:
        back = gain_of(model, step_s).T
        at_work, hour = regulated[0].at_work(regulated[1])
    for begin in range(0, len(rows), CHUNK):
        part = slice(begin, begin + CHUNK)
        origins, current = rows[part], means[part]
        for h in range(1, int(max(lead_rows)) + 1):
            current = current @ transposed + driven[np.minimum(origins + h - 1, steps - 1)]
            end = origins + h
            if regulated is not None:
                there = np.minimum(end, steps)
                pulled = regulated[0].pull(at_work[there], hour[there], current[:, air] + bias)
                current = current + pulled @ back
            if h in place:
                good = unknown[np.minimum(end, steps)] == unknown[origins]
                good &= (end <= steps)[:, None]
                result[part, place[h]] = np.where(good, current[:, air] + bias, np.nan)
    return result


def heating_c(
    model: HouseModel, drive: Drive, step_s: int, rows: IntArray, lead_rows: IntArray
) -> Array:
    """(rows, leads, rooms) K by which the heating that came since `rows` has warmed the air; NaN as in
    `free_runs`. The model is linear: it is what a run has more with this heating than with none."""
    start = np.zeros((len(rows), layout_of(model).size))
    none = replace(drive, heat_w=np.zeros_like(drive.heat_w))
    with_it, without = (free_runs(model, d, step_s, rows, start, lead_rows) for d in (drive, none))
    return with_it - without


@dataclass(frozen=True)
class Bank:
    """Past forecasts: `mean_c` (rows, leads, rooms of the house) issued at `rows` (sorted)."""

    rows: IntArray
    lead_rows: IntArray
    mean_c: Array

    def at(self, rows: IntArray, lead: int) -> Array:
        """(len(rows), rooms) forecasts issued at `rows` for `lead` rows later, NaN if not held."""
        place = np.clip(np.searchsorted(self.rows, rows), 0, len(self.rows) - 1)
        found = self.mean_c[place, int(np.searchsorted(self.lead_rows, lead))]
        return np.where((self.rows[place] == rows)[:, None], found, np.nan)


NO_FORECASTS = Bank(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), np.full((1, 1, 1), np.nan))
"""Where a view is read for its temperatures and inputs alone."""
