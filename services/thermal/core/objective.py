"""Multi-step prediction error of a house and its exact gradient.

A steady-state observer runs along the history; from origins on a fixed stride the model is run
freely to the horizon, and the errors at all leads are summed under a robust loss. The gradient is
the adjoint of that computation; the derivative of the matrix exponential is taken once per
evaluation, as the Frechet derivative in the adjoint direction (Al-Mohy and Higham, SIAM J. Matrix
Anal. Appl. 30(4), 2009, as in scipy.linalg.expm_frechet).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import expm, expm_frechet, solve_discrete_are

from services.thermal.core.parametrise import ParameterSet

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Training data on a regular grid: inputs U (T, m), measured Y (T, rooms) NaN where missing.

    U[t] acts between t and t + 1. `origins` are the rows from which free runs of `horizon` steps
    start; `free_inputs` (T, m), if given, replaces the inputs in the free runs: what a forecaster
    would have known (expected instead of measured gains). `weights` (origins, rooms) is 0 where a
    room has no recent measurement at the origin; `valid` (T,) is False where an input was unknown.
    """

    step_s: int
    inputs: Array
    measured: Array
    origins: IntArray
    weights: Array
    horizon: int
    valid: NDArray[np.bool_]
    free_inputs: Array | None = None


@dataclass(frozen=True)
class NoiseGuess:
    """Noise in the observer, in K, per room; `disturbance_rate_k_per_h` is the stationary
    standard deviation of the disturbance expressed as the drift it causes in the air node."""

    measurement_sd_c: Array
    air_sd_c_per_sqrt_h: Array
    mass_sd_c_per_sqrt_h: Array
    disturbance_rate_k_per_h: Array


@njit(cache=True)  # type: ignore[untyped-decorator]
def _observe(
    a: Array, bu: Array, gain: Array, measured: Array, air: IntArray, start: Array
) -> tuple[Array, Array]:
    """Filtered states (T, n) and innovations (T, rooms), 0 where missing."""
    steps, n = bu.shape
    rooms = len(air)
    filtered = np.empty((steps, n))
    innovations = np.zeros((steps, rooms))
    x = start.copy()
    for t in range(steps):
        if t > 0:
            previous = filtered[t - 1]
            for i in range(n):
                total = bu[t - 1, i]
                for j in range(n):
                    total += a[i, j] * previous[j]
                x[i] = total
        for r in range(rooms):
            if not np.isnan(measured[t, r]):
                innovations[t, r] = measured[t, r] - x[air[r]]
        for i in range(n):
            total = x[i]
            for r in range(rooms):
                total += gain[i, r] * innovations[t, r]
            filtered[t, i] = total
    return filtered, innovations


@njit(cache=True)  # type: ignore[untyped-decorator]
def _observe_adjoint(
    a: Array, gain: Array, measured: Array, air: IntArray, filtered: Array, seed: Array
) -> tuple[Array, Array]:
    """Gradient with respect to A and to bu, given dL/dfiltered in `seed` (T, n)."""
    steps, n = filtered.shape
    rooms = len(air)
    d_a = np.zeros((n, n))
    d_bu = np.zeros((steps, n))
    back = np.zeros(n)
    for t in range(steps - 1, 0, -1):
        prior = seed[t] + back
        for r in range(rooms):
            if not np.isnan(measured[t, r]):
                total = 0.0
                for i in range(n):
                    total += gain[i, r] * (seed[t, i] + back[i])
                prior[air[r]] -= total
        for j in range(n):
            back[j] = 0.0
        for i in range(n):
            p = prior[i]
            d_bu[t - 1, i] = p
            if p != 0.0:
                for j in range(n):
                    d_a[i, j] += p * filtered[t - 1, j]
                    back[j] += a[i, j] * p
    return d_a, d_bu


def discrete_pair(parameters: ParameterSet, theta: Array, step_s: int) -> tuple[Array, Array]:
    """(Ad, Bd) by the augmented matrix exponential."""
    powers = expm(_augmented(parameters, theta, step_s))
    n = parameters.size
    return np.ascontiguousarray(powers[:n, :n]), np.ascontiguousarray(powers[:n, n:])


def _augmented(parameters: ParameterSet, theta: Array, step_s: int) -> Array:
    matrix = parameters.matrices(theta) * step_s
    total = matrix.shape[1]
    block = np.zeros((total, total))
    block[: matrix.shape[0]] = matrix
    return block


def steady_gain(
    parameters: ParameterSet, theta: Array, step_s: int, noise: NoiseGuess
) -> Array:
    """Steady-state Kalman gain (n, rooms) of the coupled house."""
    a, _ = discrete_pair(parameters, theta, step_s)
    physical, _ = parameters.physical(theta)
    n, hours = parameters.size, step_s / 3600.0
    process = np.full(n, 1e-12)
    for i, room in enumerate(parameters.structures):
        capacity = parameters.value(physical, room.name, "air_capacity_j_per_k")
        process[parameters.air[i]] = noise.air_sd_c_per_sqrt_h[i] ** 2 * hours
        if parameters.mass[i] >= 0:
            process[parameters.mass[i]] = noise.mass_sd_c_per_sqrt_h[i] ** 2 * hours
        if parameters.emitter[i] >= 0:
            process[parameters.emitter[i]] = 1.0
        d = parameters.disturbance[i]
        stationary = (noise.disturbance_rate_k_per_h[i] / 3600.0 * capacity) ** 2
        process[d] = stationary * (1.0 - a[d, d] ** 2)
    scale = np.ones(n)
    for i in range(len(parameters.structures)):
        d = parameters.disturbance[i]
        scale[d] = max(np.sqrt(process[d] / max(1.0 - a[d, d] ** 2, 1e-9)), 1.0)
        if parameters.emitter[i] >= 0:
            scale[parameters.emitter[i]] = 1000.0
    a_scaled = a * scale[None, :] / scale[:, None]
    air = np.array(parameters.air)
    select = np.zeros((len(air), n))
    select[np.arange(len(air)), air] = 1.0
    r = np.diag(noise.measurement_sd_c**2)
    covariance = solve_discrete_are(a_scaled.T, select.T, np.diag(process / scale**2), r)
    gain: Array = (
        scale[:, None] * covariance @ select.T @ np.linalg.inv(select @ covariance @ select.T + r)
    )
    return np.ascontiguousarray(gain)


@dataclass(frozen=True)
class LossShape:
    """Robust scale (rooms,) in K and weight per lead (horizon,), mean 1; `data_weight` multiplies
    the mean loss against the prior (an effective number of independent errors)."""

    delta_c: Array
    lead_weight: Array
    data_weight: float


def start_state(parameters: ParameterSet, windows: Windows) -> Array:
    """Air and mass at each room's first measurement, disturbances 0."""
    start = np.zeros(parameters.size)
    for i in range(len(parameters.structures)):
        column = windows.measured[:, i]
        finite = column[np.isfinite(column)]
        value = finite[0] if finite.size else 20.0
        start[parameters.air[i]] = value
        if parameters.mass[i] >= 0:
            start[parameters.mass[i]] = value
    return start


@njit(cache=True)  # type: ignore[untyped-decorator]
def _run_free(
    a_transposed: Array, bu: Array, start: Array, origins: IntArray, horizon: int
) -> Array:
    count, n = start.shape
    states = np.empty((horizon + 1, count, n))
    states[0] = start
    for h in range(horizon):
        following = np.dot(states[h], a_transposed)
        for k in range(count):
            row = origins[k] + h
            for i in range(n):
                following[k, i] += bu[row, i]
        states[h + 1] = following
    return states


@njit(cache=True)  # type: ignore[untyped-decorator]
def _run_free_adjoint(
    a: Array, states: Array, d_error: Array, air: IntArray, origins: IntArray, d_bu: Array
) -> tuple[Array, Array]:
    """Gradient with respect to A and to the start states; adds that of bu to `d_bu`."""
    horizon, count = d_error.shape[0], d_error.shape[1]
    n = a.shape[0]
    d_a = np.zeros((n, n))
    adjoint = np.zeros((count, n))
    for h in range(horizon, 0, -1):
        for k in range(count):
            row = origins[k] + h - 1
            for r in range(len(air)):
                adjoint[k, air[r]] += d_error[h - 1, k, r]
            for i in range(n):
                d_bu[row, i] += adjoint[k, i]
        d_a += np.dot(adjoint.T, states[h - 1])
        adjoint = np.dot(adjoint, a)
    return d_a, adjoint


def free_runs(a: Array, bu: Array, filtered: Array, windows: Windows) -> Array:
    """States (horizon + 1, origins, n) of the free runs from every origin."""
    found: Array = _run_free(
        np.ascontiguousarray(a.T),
        np.ascontiguousarray(bu),
        np.ascontiguousarray(filtered[windows.origins]),
        windows.origins,
        windows.horizon,
    )
    return found


def window_errors(parameters: ParameterSet, windows: Windows, states: Array) -> Array:
    """Predicted minus measured (horizon, origins, rooms); NaN where missing or weight 0.

    A run is cut where an input was unknown on its way.
    """
    steps = windows.origins[None, :] + np.arange(1, windows.horizon + 1)[:, None]
    error = states[1:, :, parameters.air] - windows.measured[steps]
    error[:, windows.weights == 0.0] = np.nan
    known = np.cumprod(windows.valid[steps - 1], axis=0).astype(bool)
    error[~known] = np.nan
    return np.asarray(error)


def loss_and_gradient(
    theta: Array,
    parameters: ParameterSet,
    windows: Windows,
    gain: Array,
    shape: LossShape,
) -> tuple[float, Array]:
    """Negative log posterior (up to a constant) and its gradient."""
    n = parameters.size
    block = _augmented(parameters, theta, windows.step_s)
    powers = expm(block)
    a, b = np.ascontiguousarray(powers[:n, :n]), powers[:n, n:]
    bu = windows.inputs @ b.T
    air = np.array(parameters.air)
    filtered, _ = _observe(a, bu, gain, windows.measured, air, start_state(parameters, windows))
    free = windows.inputs if windows.free_inputs is None else windows.free_inputs
    states = free_runs(a, bu if free is windows.inputs else free @ b.T, filtered, windows)
    error = window_errors(parameters, windows, states)
    if not np.isfinite(states).all() or np.abs(states[:, :, air]).max() > 1e4:
        return 1e12, np.zeros_like(theta)  # out of the observer's region
    present = np.isfinite(error)
    clean = np.where(present, error, 0.0) / shape.delta_c
    weight = shape.lead_weight[:, None, None] * windows.weights[None] * present
    total_weight = max(float(weight.sum()), 1.0)
    root = np.sqrt(1.0 + clean**2)
    data = shape.data_weight * float((weight * (root - 1.0)).sum()) / total_weight
    d_error = shape.data_weight / total_weight * weight * clean / root / shape.delta_c
    d_bu = np.zeros_like(bu)
    seed = np.zeros_like(filtered)
    d_a, adjoint = _run_free_adjoint(a, states, d_error, air, windows.origins, d_bu)
    np.add.at(seed, windows.origins, adjoint)
    more_a, more_bu = _observe_adjoint(a, gain, windows.measured, air, filtered, seed)
    d_block = np.zeros_like(block)
    d_block[:n, :n] = d_a + more_a
    d_block[:n, n:] = d_bu.T @ free + more_bu.T @ windows.inputs
    back = expm_frechet(block.T, d_block, compute_expm=False)
    gradient = parameters.gradient(theta, back[:n] * windows.step_s)
    z = (theta - parameters.prior_mean) / parameters.prior_sd
    prior = 0.5 * float((z**2).sum()) + float((parameters.shrink * np.abs(theta)).sum())
    gradient = gradient + z / parameters.prior_sd + parameters.shrink * np.sign(theta)
    return data + prior, gradient


def errors_only(
    theta: Array, parameters: ParameterSet, windows: Windows, gain: Array
) -> tuple[Array, Array]:
    """Window errors (horizon, origins, rooms) and one-step innovations (T, rooms)."""
    a, b = discrete_pair(parameters, theta, windows.step_s)
    bu = windows.inputs @ b.T
    filtered, innovations = _observe(
        a, bu, gain, windows.measured, np.array(parameters.air), start_state(parameters, windows)
    )
    if windows.free_inputs is not None:
        bu = windows.free_inputs @ b.T
    return window_errors(parameters, windows, free_runs(a, bu, filtered, windows)), innovations
