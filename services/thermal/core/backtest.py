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
from services.thermal.core.drive import Drive, drive_of, hold_short
from services.thermal.core.filter import FilterState
from services.thermal.core.hindcast import run_filter
from services.thermal.core.history import History, fill_short_gaps
from services.thermal.core.predict import Forecast, predict

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

WARM_UP_S = 10 * 86400
ARX_STEP_S = 1800


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
    origins = np.arange(max(start, first + 1), stop - horizon, stride, dtype=np.int64)
    filtered = run_filter(model, history, drive, first, origins, judged_from=start)
    ours = np.full((len(leads), len(origins), len(model.rooms)), np.nan)
    inside = np.full_like(ours, np.nan)
    for k, (t, state) in enumerate(zip(origins.tolist(), filtered.states, strict=True)):
        _score(model, state, drive, history.temperature_c, t, leads, step, ours[:, k], inside[:, k])
    return Backtest(
        tuple(lead * step for lead in leads),
        history.epoch_s[origins],
        ours,
        inside,
        _baselines(model, history, train_until_epoch_s, origins, leads),
        filtered.innovation_ratio,
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
    held = np.stack(
        [hold_short(measured[:, i], 7200 // history.step_s) for i in range(measured.shape[1])],
        axis=1,
    )
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
