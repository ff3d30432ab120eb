"""How wide the prediction bands must be, learnt from errors the fit has not seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_are

from contracts.thermal_model import BandScale, HouseModel, RoomModel
from services.thermal.core.discretise import Discrete, discretise
from services.thermal.core.fit import Fit, set_disturbance_time
from services.thermal.core.objective import Windows, errors_only
from services.thermal.core.predict import Z_90, air_variance

Array = NDArray[np.float64]

LEADS_S = (900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)
COVERAGE = 0.90
FEWEST_ERRORS = 10
ENOUGH_RUNS = 15
FACTOR_LOW, FACTOR_HIGH = 0.2, 20.0


def with_bands(
    model: HouseModel, trained: Fit, held_out: Windows, whole: Windows, final: Fit
) -> HouseModel:
    """Model with noise scaled to its innovations and bands scaled to the held-out errors.

    `trained` has not seen `held_out`. Where too few held-out errors exist, those of the training
    part stand in.
    """
    model = _scale_noise(model, final, whole)
    set_disturbance_time(trained.parameters, trained.disturbance_time_s)
    unseen, _ = errors_only(trained.theta, trained.parameters, held_out, trained.gain)
    set_disturbance_time(final.parameters, final.disturbance_time_s)
    seen, _ = errors_only(final.theta, final.parameters, whole, final.gain)
    dynamics = discretise(model, whole.step_s)
    steady = steady_covariance(model, dynamics)
    horizon = held_out.horizon
    deviation = np.sqrt(np.maximum(air_variance(dynamics, steady, horizon), 1e-12))
    rooms = []
    for i, room in enumerate(model.rooms):
        scales: list[BandScale] = []
        for lead_s in LEADS_S:
            k = int(np.clip(round(lead_s / whole.step_s), 1, horizon)) - 1
            factor = _factor(unseen, seen, i, k, float(deviation[k, i]))
            if factor is not None and (not scales or scales[-1].lead_s < (k + 1) * whole.step_s):
                scales.append(BandScale(lead_s=float((k + 1) * whole.step_s), factor=factor))
        rooms.append(room.model_copy(update={"band_scale": tuple(scales)}))
    return model.model_copy(update={"rooms": tuple(rooms)})


def _factor(unseen: Array, seen: Array, room: int, k: int, deviation_c: float) -> float | None:
    """Ratio of the empirical 90 % half width to the model's, None without data.

    Few runs give a too narrow quantile; it is then raised as in conformal prediction (V. Vovk et
    al., Algorithmic Learning in a Random World, 2005).
    """
    low, high = max(0, k - 2), k + 3
    for errors in (unseen, seen):
        if errors.size == 0:
            continue
        values = np.abs(errors[low:high, :, room])
        runs = int(np.isfinite(values).any(axis=0).sum())
        values = values[np.isfinite(values)]
        if values.size >= FEWEST_ERRORS:
            level = COVERAGE if runs >= ENOUGH_RUNS else min(1.0, COVERAGE * (1.0 + 1.0 / runs))
            half = float(np.quantile(values, level))
            return float(np.clip(half / (Z_90 * deviation_c), FACTOR_LOW, FACTOR_HIGH))
    return None


def steady_covariance(model: HouseModel, dynamics: Discrete) -> Array:
    """(n, n) filtered covariance in steady state with a sample of every room each step."""
    layout = dynamics.layout
    scale = np.ones(layout.size)
    for i, room in enumerate(model.rooms):
        scale[layout.disturbance[i]] = max(room.noise.disturbance_sd_w, 1.0)
        if layout.emitter[i] >= 0:
            scale[layout.emitter[i]] = 1000.0
    a = dynamics.A * scale[None, :] / scale[:, None]
    q = dynamics.Q / np.outer(scale, scale) + 1e-12 * np.eye(layout.size)
    select = np.zeros((layout.room_count, layout.size))
    select[np.arange(layout.room_count), layout.air] = 1.0
    r = np.diag([room.noise.measurement_sd_c**2 for room in model.rooms])
    prior = solve_discrete_are(a.T, select.T, q, r)
    gain = prior @ select.T @ np.linalg.inv(select @ prior @ select.T + r)
    filtered = prior - gain @ select @ prior
    return np.asarray(0.5 * (filtered + filtered.T) * np.outer(scale, scale))


def _scale_noise(model: HouseModel, fit: Fit, windows: Windows) -> HouseModel:
    """Scale each room's noise so that its one-step innovations have the variance it predicts."""
    set_disturbance_time(fit.parameters, fit.disturbance_time_s)
    _, innovations = errors_only(fit.theta, fit.parameters, windows, fit.gain)
    dynamics = discretise(model, windows.step_s)
    steady = steady_covariance(model, dynamics)
    prior = dynamics.A @ steady @ dynamics.A.T + dynamics.Q
    rooms: list[RoomModel] = []
    for i, room in enumerate(model.rooms):
        k = dynamics.layout.air[i]
        expected = float(prior[k, k]) + room.noise.measurement_sd_c**2
        values = innovations[len(innovations) // 10 :, i]
        values = np.abs(values[values != 0.0])
        if values.size < FEWEST_ERRORS:
            rooms.append(room)
            continue
        ratio = float(np.clip(np.quantile(values, 0.95) / 1.96 / np.sqrt(expected), 0.05, 20.0))
        noise = room.noise.model_copy(
            update={
                "measurement_sd_c": room.noise.measurement_sd_c * ratio,
                "air_sd_c_per_sqrt_h": room.noise.air_sd_c_per_sqrt_h * ratio,
                "mass_sd_c_per_sqrt_h": room.noise.mass_sd_c_per_sqrt_h * ratio,
                "disturbance_sd_w": room.noise.disturbance_sd_w * ratio,
            }
        )
        rooms.append(room.model_copy(update={"noise": noise}))
    return model.model_copy(update={"rooms": tuple(rooms)})


