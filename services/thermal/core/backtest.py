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
from services.thermal.core.arx import behind_curve, fit_arx, room_series, run_arx
from services.thermal.core.correction import Correction, correct_filtered, rows_to_filter
from services.thermal.core.drive import Drive, drive_of, held_temperatures
from services.thermal.core.features import view_of
from services.thermal.core.filter import FilterState
from services.thermal.core.hindcast import NO_FORECASTS, run_filter
from services.thermal.core.history import History
from services.thermal.core.predict import Z_90, Forecast, predict
from services.thermal.core.recalibrate import recalibrated
from services.thermal.core.task import season_weights

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

WARM_UP_S = 14 * 86400


@dataclass(frozen=True)
class Backtest:
    """Errors predicted minus measured, NaN where either is missing.

    `ours`, and each of `baselines`, (leads, origins, rooms); `inside` the same shape, 1 where the
    90 % band held, 0 where not, NaN where missing; `half_width_c` the same shape, half its width.
    `innovation_ratio` (rooms,) mean squared innovation over its predicted variance.
    """

    lead_s: tuple[int, ...]
    origin_epoch_s: IntArray
    ours: Array
    inside: Array
    half_width_c: Array
    baselines: dict[str, Array]
    innovation_ratio: Array


def backtest(
    model: HouseModel,
    history: History,
    *,
    train_until_epoch_s: int,
    from_epoch_s: int,
    to_epoch_s: int,
    lead_s: Sequence[int],
    stride_s: int = 3 * 3600,
    correction: Correction | None = None,
) -> Backtest:
    """Run the filter from two weeks before `from_epoch_s` and predict from every origin.

    Without a `correction` ours are the physics model's forecasts and bands; with one these are
    corrected, and the physics model alone becomes a baseline. The bands follow what earlier ones
    have held where that was known when they were issued (`recalibrate`).
    """
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
    origins = np.arange(max(start, first + 1), stop - horizon, stride, dtype=np.int64)
    rows = rows_to_filter(correction, step, origins, first)
    filtered = run_filter(model, history, drive, first, rows, judged_from=start)
    ours = np.full((len(leads), len(origins), len(model.rooms)), np.nan)
    half = np.full_like(ours, np.nan)
    places = np.searchsorted(rows, origins)
    for k, (t, place) in enumerate(zip(origins.tolist(), places.tolist(), strict=True)):
        state = filtered.states[place]
        _forecast(model, state, drive, t, leads, step, ours[:, k], half[:, k])
    truth = _truth(history, origins, leads)
    baselines = _baselines(model, history, train_until_epoch_s, origins, leads)
    if correction is not None:
        baselines["physics"] = ours - truth
        added, learnt = correct_filtered(
            correction, model, history, drive, rows, filtered.means, origins, leads
        )
        changed = np.isfinite(added)
        ours = np.where(changed, ours + added, ours)
        half = np.where(changed, learnt, half)
    error = ours - truth
    half = recalibrated([lead * step for lead in leads], history.epoch_s[origins], error, half)
    inside = np.where(np.isfinite(error), np.abs(error) <= half, np.nan)
    return Backtest(
        tuple(lead * step for lead in leads),
        history.epoch_s[origins],
        error,
        inside,
        half,
        baselines,
        filtered.innovation_ratio,
    )


def _truth(history: History, origins: IntArray, leads: Sequence[int]) -> Array:
    """(leads, origins, rooms) measured at the target, NaN where the room was silent at the origin."""
    now = held_temperatures(history)
    found = np.stack([history.temperature_c[origins + lead] for lead in leads])
    return np.where(np.isfinite(now[origins])[None], found, np.nan)


def _forecast(
    model: HouseModel,
    state: FilterState,
    drive: Drive,
    t: int,
    leads: Sequence[int],
    step_s: int,
    mean: Array,
    half: Array,
) -> None:
    """Fill one origin's forecasts and half bands, (leads, rooms), in place; unknown inputs leave NaN."""
    ahead = slice(t, t + max(leads))
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
        known = drive.known[t : t + lead].all(axis=0)
        mean[n][known] = prediction.mean_c[lead - 1][known]
        half[n][known] = Z_90 * prediction.sd_c[lead - 1][known]


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
    held = held_temperatures(history)
    persistence = held[origins][None] - truth
    yesterday = np.stack(
        [
            measured[np.maximum(origins + lead - day * -(-lead // day), 0)] - truth[n]
            for n, lead in enumerate(leads)
        ]
    )
    arx = np.full_like(truth, np.nan)
    view = view_of(history, NO_FORECASTS, model.time_zone)
    split = int(np.searchsorted(history.epoch_s, train_until_epoch_s))
    taught = np.zeros(len(history.epoch_s))
    taught[:split] = season_weights(history.rows(0, split))
    for i, room in enumerate(model.rooms):
        series = room_series(view, i, behind_curve(room))
        fitted = fit_arx(series, taught)
        if fitted is not None:
            arx[:, :, i] = run_arx(fitted, series, origins, leads) - truth[:, :, i]
    return {"persistence": persistence, "same time yesterday": yesterday, "arx": arx}
