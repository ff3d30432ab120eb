"""All inputs of a history as arrays, gaps filled as a running service would fill them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel
from services.thermal.core.gains import gains_by_room, heat_by_room, heating_of
from services.thermal.core.history import History, ends_mean, fill_short_gaps

Array = NDArray[np.float64]

HABIT_DAYS = 14
LONGEST_FILL_S = 6 * 3600
HOLD_S = 2 * 3600


@dataclass(frozen=True)
class Drive:
    """All inputs of a history as arrays, gaps filled as a running service would.

    `known` (rows, rooms): whether a row's outdoor temperature and that room's own heating are.
    """

    outside_c: Array
    heat_w: Array
    air_gain_w: Array
    mass_gain_w: Array
    habit_air_w: Array
    known: NDArray[np.bool_]


def drive_of(model: HouseModel, history: History) -> Drive:
    """Inputs for filter and prediction; `history` must be complete in irradiance.

    What is missing beyond a short gap is not `known`; there a heater counts half, for the sake of the rooms
    around, as in the filter. `habit_air_w` is the air gain with metered gains replaced by their habit.
    """
    longest = 0 if history.filled else max(1, LONGEST_FILL_S // history.step_s)
    outside = ends_mean(fill_short_gaps(history.outside_c, longest))
    told = np.ones((len(outside), len(model.rooms)), dtype=bool)
    for i, room in enumerate(model.rooms):
        for source in heating_of(room):
            if source in history.heat_w:
                told[:, i] &= np.isfinite(fill_short_gaps(history.heat_w[source], longest))
    known = told & np.isfinite(outside)[:, None]
    outside = hold_last(outside)
    heat_known = {name: np.where(np.isfinite(v), v, 0.0) for name, v in history.heat_w.items()}
    half = 0.5 * np.array([room.heater_power_w for room in model.rooms])
    heat = np.where(told, heat_by_room(model, heat_known, outside), half)
    metered = {name: np.where(np.isfinite(v), v, 0.0) for name, v in history.metered_w.items()}

    def gains(series: dict[str, Array]) -> tuple[Array, Array]:
        def filled(values: Array | None) -> Array | None:
            return None if values is None else np.where(np.isfinite(values), values, 0.0)

        return gains_by_room(
            model,
            history.epoch_s,
            history.step_s,
            ghi_w_m2=filled(history.ghi_w_m2),
            dni_w_m2=filled(history.dni_w_m2),
            dhi_w_m2=filled(history.dhi_w_m2),
            metered_w=series,
            wind_m_s=filled(history.wind_m_s),
            outside_c=outside,
        )

    air, mass = gains(metered)
    habit_air = air
    if metered:
        habits = {name: habit(history, values) for name, values in history.metered_w.items()}
        habit_air, _ = gains(habits)
    return Drive(outside, heat, air, mass, habit_air, known)


def hold_last(values: Array) -> Array:
    """Missing values replaced by the last one before (the first one at the start)."""
    finite = np.isfinite(values)
    if not finite.any():
        raise ValueError("a series needed for prediction is missing altogether")
    index = np.maximum.accumulate(np.where(finite, np.arange(len(values)), -1))
    index = np.where(index < 0, int(np.argmax(finite)), index)
    return np.asarray(values[index])


def habit(history: History, values: Array) -> Array:
    """Mean of a series at the same time of day over the two weeks before each day."""
    per_day = max(1, round(86400 / history.step_s))
    days = -(-len(values) // per_day)
    padded = np.full(days * per_day, np.nan)
    padded[: len(values)] = values
    table = padded.reshape(days, per_day)
    overall = float(np.nanmean(values)) if np.isfinite(values).any() else 0.0
    result = np.full_like(table, overall)
    smooth = max(1, 3600 // history.step_s)
    kernel = np.ones(smooth) / smooth
    for day in range(1, days):
        block = table[max(0, day - HABIT_DAYS) : day]
        count = np.isfinite(block).sum(axis=0)
        mean = np.where(
            count > 0,
            np.where(np.isfinite(block), block, 0.0).sum(axis=0) / np.maximum(count, 1),
            overall,
        )
        result[day] = np.convolve(np.concatenate([mean, mean, mean]), kernel, "same")[
            per_day : 2 * per_day
        ]
    return np.asarray(result.reshape(-1)[: len(values)])


def held_temperatures(history: History) -> Array:
    """(T, rooms) temperatures, the last one held over at most two hours of silence."""
    longest = max(1, HOLD_S // history.step_s)
    return np.column_stack([_hold_short(column, longest) for column in history.temperature_c.T])


def _hold_short(values: Array, longest: int) -> Array:
    """Last value held over at most `longest` missing samples."""
    finite = np.isfinite(values)
    rows = np.arange(len(values))
    last = np.maximum.accumulate(np.where(finite, rows, -1))
    near = (last >= 0) & (rows - last <= longest)
    return np.where(near, values[np.maximum(last, 0)], np.nan)
