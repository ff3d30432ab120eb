"""One fit of a house: parameters by L-BFGS with exact gradients, noise levels by search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from services.thermal.core.objective import (
    LossShape,
    NoiseGuess,
    Windows,
    errors_only,
    loss_and_gradient,
    steady_gain,
)
from services.thermal.core.parametrise import ParameterSet

Array = NDArray[np.float64]

ROUNDS = 3
ITERATIONS = 40
NOISE_FACTORS = (0.4, 2.5)
DISTURBANCE_TIMES_S = (3 * 3600.0, 12 * 3600.0, 48 * 3600.0)
DELTA_LOW_C, DELTA_HIGH_C = 0.05, 0.6
JUDGED_DELTA_C = 0.3
SHORT_RUN_S = 6 * 3600
INDEPENDENT_SHORT, INDEPENDENT_LONG = 64.0, 4.0
"""Errors per room and day that count against the priors, of runs up to SHORT_RUN_S and of longer ones."""


@dataclass(frozen=True)
class Fit:
    """A fitted house: theta, noise, the observer's gain and the loss it reached."""

    parameters: ParameterSet
    theta: Array
    noise: NoiseGuess
    disturbance_time_s: Array
    gain: Array
    shape: LossShape
    loss: float
    evaluations: int


def lead_weights(horizon: int) -> Array:
    """Weights over leads: short leads count more because their errors are smaller; mean 1."""
    lead = np.arange(1, horizon + 1) / horizon
    weight = 1.0 / (0.2 + lead)
    return np.asarray(weight / weight.mean())


def set_disturbance_time(parameters: ParameterSet, time_s: Array) -> None:
    """Change the correlation time of every room's disturbance in place."""
    for row, seconds in zip(parameters.disturbance, time_s, strict=True):
        at = np.flatnonzero((parameters.rows == row) & (parameters.columns == row))
        parameters.signs[at[0]] = -1.0 / seconds


def default_noise(parameters: ParameterSet, quantum_c: Array) -> NoiseGuess:
    """Starting noise: the sensor's resolution, a quarter of a degree per hour of disturbance."""
    rooms = len(parameters.structures)
    return NoiseGuess(
        np.maximum(quantum_c / np.sqrt(12.0), 0.03),
        np.full(rooms, 0.1),
        np.full(rooms, 0.05),
        np.full(rooms, 0.15),
    )


def error_scale(error: Array) -> Array:
    """Robust scale per room of window errors (horizon, origins, rooms), K."""
    scales = np.full(error.shape[2], DELTA_HIGH_C)
    for i in range(error.shape[2]):
        values = np.abs(error[:, :, i])
        values = values[np.isfinite(values)]
        if values.size:
            scales[i] = np.clip(np.median(values), DELTA_LOW_C, DELTA_HIGH_C)
    return scales


def robust_loss(error: Array, shape: LossShape) -> Array:
    """Mean weighted pseudo-Huber loss per room (rooms,), NaN where a room has no error."""
    present = np.isfinite(error)
    clean = np.where(present, error, 0.0) / shape.delta_c
    weight = shape.lead_weight[:, None, None] * present
    total = (weight * (np.sqrt(1.0 + clean**2) - 1.0)).sum(axis=(0, 1))
    count = weight.sum(axis=(0, 1))
    return np.where(count > 0, total / np.maximum(count, 1e-9), np.nan)


def judged_loss(error: Array) -> Array:
    """Robust loss per room (rooms,) by which models are compared, the same scale for all of them."""
    horizon, _, rooms = error.shape
    return robust_loss(error, LossShape(np.full(rooms, JUDGED_DELTA_C), lead_weights(horizon), 1.0))


def fit_house(
    parameters: ParameterSet,
    windows: Windows,
    *,
    theta: Array | None = None,
    noise: NoiseGuess | None = None,
    quantum_c: Array | None = None,
    disturbance_time_s: Array | None = None,
    rounds: int = ROUNDS,
    iterations: int = ITERATIONS,
    tune_noise: bool = True,
) -> Fit:
    """Alternate parameters (L-BFGS-B on the exact gradient) and noise levels (pattern search)."""
    rooms = len(parameters.structures)
    theta = parameters.prior_mean.copy() if theta is None else theta.copy()
    theta = np.clip(theta, parameters.low, parameters.high)
    quantum = np.full(rooms, 0.1) if quantum_c is None else quantum_c
    noise = default_noise(parameters, quantum) if noise is None else noise
    times = (
        np.full(rooms, DISTURBANCE_TIMES_S[1]) if disturbance_time_s is None else disturbance_time_s
    )
    set_disturbance_time(parameters, times)
    days = np.ptp(windows.origins) * windows.step_s / 86400.0 + 1.0
    short = windows.horizon * windows.step_s <= SHORT_RUN_S
    independent = INDEPENDENT_SHORT if short else INDEPENDENT_LONG
    shape = LossShape(
        np.full(rooms, DELTA_HIGH_C),
        lead_weights(windows.horizon),
        independent * float(days) * rooms,
    )
    evaluations = 0
    loss = np.inf
    for turn in range(rounds):
        gain = steady_gain(parameters, theta, windows.step_s, noise)
        error, _ = errors_only(theta, parameters, windows, gain)
        shape = replace(shape, delta_c=error_scale(error))
        result = minimize(
            loss_and_gradient,
            theta,
            args=(parameters, windows, gain, shape),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(parameters.low, parameters.high, strict=True)),
            options={"maxiter": iterations, "maxcor": 20},
        )
        theta, loss = np.asarray(result.x), float(result.fun)
        evaluations += int(result.nfev)
        if tune_noise and turn < rounds - 1:
            noise, times = _search_noise(parameters, windows, theta, noise, times, shape)
    gain = steady_gain(parameters, theta, windows.step_s, noise)
    return Fit(parameters, theta, noise, times, gain, shape, loss, evaluations)


def _search_noise(
    parameters: ParameterSet,
    windows: Windows,
    theta: Array,
    noise: NoiseGuess,
    times: Array,
    shape: LossShape,
) -> tuple[NoiseGuess, Array]:
    """Scale each noise level, for the house and then by room, while the loss falls."""
    thinned = replace(
        windows, origins=windows.origins[::2], weights=windows.weights[::2]
    )

    def room_losses(trial: NoiseGuess, trial_times: Array) -> Array:
        set_disturbance_time(parameters, trial_times)
        try:
            gain = steady_gain(parameters, theta, windows.step_s, trial)
        except (np.linalg.LinAlgError, ValueError):
            return np.full(len(times), np.inf)
        error, _ = errors_only(theta, parameters, thinned, gain)
        return robust_loss(error, shape)

    best = room_losses(noise, times)
    moves: list[Callable[[NoiseGuess, Array], tuple[NoiseGuess, Array]]] = []
    for name in (
        "measurement_sd_c", "disturbance_rate_k_per_h", "mass_sd_c_per_sqrt_h", "air_sd_c_per_sqrt_h",
    ):  # fmt: skip
        for factor in NOISE_FACTORS:
            moves.append(_scaled(name, factor))
    for seconds in DISTURBANCE_TIMES_S:
        moves.append(_timed(seconds))
    for move in moves:
        trial, trial_times = move(noise, times)
        losses = room_losses(trial, trial_times)
        better = losses < best * 0.999
        if better.any():
            mixed = _mix(noise, trial, better)
            mixed_times = np.where(better, trial_times, times)
            mixed_losses = room_losses(mixed, mixed_times)
            if np.nansum(mixed_losses) < np.nansum(best):
                noise, times, best = mixed, mixed_times, mixed_losses
    set_disturbance_time(parameters, times)
    return noise, times


def _scaled(name: str, factor: float) -> Callable[[NoiseGuess, Array], tuple[NoiseGuess, Array]]:
    def move(noise: NoiseGuess, times: Array) -> tuple[NoiseGuess, Array]:
        changed: NoiseGuess = replace(noise, **{name: getattr(noise, name) * factor})
        return changed, times

    return move


def _timed(seconds: float) -> Callable[[NoiseGuess, Array], tuple[NoiseGuess, Array]]:
    def move(noise: NoiseGuess, times: Array) -> tuple[NoiseGuess, Array]:
        return noise, np.full_like(times, seconds)

    return move


def _mix(old: NoiseGuess, new: NoiseGuess, use_new: NDArray[np.bool_]) -> NoiseGuess:
    return NoiseGuess(
        np.where(use_new, new.measurement_sd_c, old.measurement_sd_c),
        np.where(use_new, new.air_sd_c_per_sqrt_h, old.air_sd_c_per_sqrt_h),
        np.where(use_new, new.mass_sd_c_per_sqrt_h, old.mass_sd_c_per_sqrt_h),
        np.where(use_new, new.disturbance_rate_k_per_h, old.disturbance_rate_k_per_h),
    )
