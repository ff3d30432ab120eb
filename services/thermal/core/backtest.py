"""Out-of-sample test of a model: filter along the recording, predict from many origins, compare.

The forecasts are given the outdoor temperature, irradiance and heating that came (as the issue's
figures are defined); other metered gains are not known ahead and are replaced by their mean at the
same hour over the two weeks before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel
from services.thermal.core.baselines import arx_inputs, fit_arx, run_arx
from services.thermal.core.filter import (
    FilterState,
    StepInputs,
    filter_step,
    initial_state,
)
from services.thermal.core.gains import gains_by_room, heat_by_room
from services.thermal.core.history import History, ends_mean, fill_short_gaps
from services.thermal.core.predict import Forecast, predict

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

WARM_UP_S = 10 * 86400
HABIT_DAYS = 14
ARX_STEP_S = 1800
LONGEST_FILL_S = 6 * 3600


@dataclass(frozen=True)
class Backtest:
    """Errors predicted minus measured, NaN where either is missing.

    `ours`, and each of `baselines`, (leads, origins, rooms); `inside` the same shape, 1 where the
    90 % band held, 0 where not, NaN where missing. `innovation_ratio` (rooms,) mean squared
    innovation over its predicted variance.
    """

    lead_s: tuple[int, ...]
    origin_epoch_s: IntArray
    ours: Array
    inside: Array
    baselines: dict[str, Array]
    innovation_ratio: Array


@dataclass(frozen=True)
class Drive:
    """All inputs of a history as arrays, gaps filled as a running service would."""

    outside_c: Array
    heat_w: Array
    air_gain_w: Array
    mass_gain_w: Array
    habit_air_w: Array
    known: NDArray[np.bool_]


def drive_of(model: HouseModel, history: History) -> Drive:
    """Inputs for filter and prediction; `history` must be complete in irradiance.

    `known` is False where heating or outdoor temperature was missing beyond a short gap;
    `habit_air_w` is the air gain with metered gains replaced by their habit.
    """
    longest = max(1, LONGEST_FILL_S // history.step_s)
    outside = ends_mean(fill_short_gaps(history.outside_c, longest))
    known = np.isfinite(outside)
    outside = hold_last(outside)
    heat_known = {name: np.where(np.isfinite(v), v, 0.0) for name, v in history.heat_w.items()}
    for values in history.heat_w.values():
        known &= np.isfinite(fill_short_gaps(values, longest))
    heat = heat_by_room(model, heat_known, outside)
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
            count > 0, np.where(np.isfinite(block), block, 0.0).sum(axis=0) / np.maximum(count, 1),
            overall,
        )
        result[day] = np.convolve(np.concatenate([mean, mean, mean]), kernel, "same")[
            per_day : 2 * per_day
        ]
    return np.asarray(result.reshape(-1)[: len(values)])


def backtest(
    model: HouseModel,
    history: History,
    *,
    train_until_epoch_s: int,
    from_epoch_s: int,
    to_epoch_s: int,
    lead_s: Sequence[int],
    stride_s: int = 3 * 3600,
) -> Backtest:
    """Run the filter from ten days before `from_epoch_s` and predict from every origin."""
    step = history.step_s
    first = max(0, int(np.searchsorted(history.epoch_s, from_epoch_s - WARM_UP_S)))
    start = int(np.searchsorted(history.epoch_s, from_epoch_s))
    stop = int(np.searchsorted(history.epoch_s, to_epoch_s))
    leads = [max(1, round(lead / step)) for lead in lead_s]
    horizon = max(leads)
    if stop - start <= horizon:
        raise ValueError(
            "the test stretch is shorter than the lead time; move --from, --to or --lead"
        )
    drive = drive_of(model, history)
    stride = max(1, round(stride_s / step))
    origins = [t for t in range(max(start, first + 1), stop - horizon, stride)]
    wanted = set(origins)
    rooms = len(model.rooms)
    ours = np.full((len(leads), len(origins), rooms), np.nan)
    inside = np.full_like(ours, np.nan)
    measured = history.temperature_c
    state = initial_state(
        model, int(history.epoch_s[first]), list(measured[first]), float(drive.outside_c[first])
    )
    ratio_sum, ratio_count = np.zeros(rooms), np.zeros(rooms)
    index = {name: i for i, name in enumerate(model.room_names)}
    k = 0
    for t in range(first + 1, stop - horizon):
        state, innovations = filter_step(
            model,
            state,
            StepInputs(
                step,
                float(drive.outside_c[t - 1]),
                list(drive.heat_w[t - 1]),
                list(drive.air_gain_w[t - 1]),
                list(drive.mass_gain_w[t - 1]),
            ),
            list(measured[t]),
        )
        for item in innovations:
            if item.accepted and t >= start:
                i = index[item.room]
                ratio_sum[i] += (item.residual_c / item.standard_deviation_c) ** 2
                ratio_count[i] += 1
        if t in wanted:
            _score(model, state, drive, measured, t, leads, step, ours[:, k], inside[:, k])
            k += 1
    origin_rows = np.array(origins, dtype=np.int64)
    baselines = _baselines(model, history, train_until_epoch_s, origin_rows, leads)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = ratio_sum / ratio_count
    return Backtest(
        tuple(lead * step for lead in leads),
        history.epoch_s[origin_rows],
        ours,
        inside,
        baselines,
        ratio,
    )


def _score(
    model: HouseModel,
    state: FilterState,
    drive: Drive,
    measured: Array,
    t: int,
    leads: Sequence[int],
    step_s: int,
    error: Array,
    inside: Array,
) -> None:
    """Fill one origin's errors and band hits, (leads, rooms), in place."""
    horizon = max(leads)
    ahead = slice(t, t + horizon)
    recent = measured[max(0, t - max(1, 7200 // step_s)) : t + 1]
    silent = ~np.isfinite(recent).any(axis=0)
    prediction = predict(
        model,
        state,
        Forecast(
            drive.outside_c[ahead],
            drive.heat_w[ahead],
            drive.habit_air_w[ahead],
            drive.mass_gain_w[ahead],
        ),
        step_s,
    )
    for n, lead in enumerate(leads):
        if not drive.known[t : t + lead].all():
            continue
        truth = np.where(silent, np.nan, measured[t + lead])
        error[n] = prediction.mean_c[lead - 1] - truth
        hit = (truth >= prediction.low_c[lead - 1]) & (truth <= prediction.high_c[lead - 1])
        inside[n] = np.where(np.isfinite(truth), hit, np.nan)


def _baselines(
    model: HouseModel,
    history: History,
    train_until_epoch_s: int,
    origins: IntArray,
    leads: Sequence[int],
) -> dict[str, Array]:
    """Errors of persistence, same time yesterday and ARX, (leads, origins, rooms) each."""
    measured = history.temperature_c
    day = round(86400 / history.step_s)
    truth = np.stack([measured[origins + lead] for lead in leads])
    held = np.stack([hold_short(measured[:, i], 7200 // history.step_s)
                     for i in range(measured.shape[1])], axis=1)
    persistence = held[origins][None] - truth
    yesterday = np.stack(
        [
            measured[np.maximum(origins + lead - day * -(-lead // day), 0)] - truth[n]
            for n, lead in enumerate(leads)
        ]
    )
    arx = np.full_like(truth, np.nan)
    factor = max(1, round(ARX_STEP_S / history.step_s))
    coarse = history.coarsen(factor)
    inputs = arx_inputs(coarse, model.latitude_deg, model.longitude_deg, model.time_zone)
    split = int(np.searchsorted(coarse.epoch_s, train_until_epoch_s))
    coarse_leads = [max(1, round(lead / factor)) for lead in leads]
    places = np.clip(origins // factor, 4, len(coarse.epoch_s) - max(coarse_leads) - 1)
    for i in range(measured.shape[1]):
        series = fill_short_gaps(coarse.temperature_c[:, i], 2)
        fitted = fit_arx(series[:split], inputs[:split])
        if fitted is None:
            continue
        runs = run_arx(fitted, series, inputs, places, max(coarse_leads))
        for n, lead in enumerate(coarse_leads):
            arx[n, :, i] = runs[lead - 1] - truth[n, :, i]
    return {"persistence": persistence, "same time yesterday": yesterday, "arx": arx}


def hold_short(values: Array, longest: int) -> Array:
    """Last value held over at most `longest` missing samples."""
    finite = np.isfinite(values)
    rows = np.arange(len(values))
    last = np.maximum.accumulate(np.where(finite, rows, -1))
    near = (last >= 0) & (rows - last <= longest)
    return np.where(near, values[np.maximum(last, 0)], np.nan)
